"""Every sentence that people read exists in German too, and nothing stands in the catalogue that nobody says."""

from pathlib import Path

from babel.messages.pofile import read_po

from setup import catalogues

ROOT = Path(__file__).parents[2]


def said() -> set[object]:
    """Every message of the code and the templates, found as `make messages` finds them."""
    return {message for _file, _line, message, _comments, _context in catalogues.said(ROOT)}


def test_every_sentence_has_its_german_and_none_is_left_over() -> None:
    with (ROOT / "translations/de/LC_MESSAGES/messages.po").open("rb") as file:
        german = read_po(file, locale="de")
    written = {message.id: message for message in german if message.id}
    assert set(written) == said()
    assert [key for key, message in written.items() if message.fuzzy or not all(_strings(message.string))] == []


def test_a_translation_keeps_the_places_of_its_sentence() -> None:
    with (ROOT / "translations/de/LC_MESSAGES/messages.po").open("rb") as file:
        german = read_po(file, locale="de")
    for message in german:
        if message.id:
            assert not list(message.check(german)), message.id


def _strings(text: object) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)  # type: ignore[arg-type]
