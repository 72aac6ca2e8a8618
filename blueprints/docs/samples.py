"""The programs of the documentation: real files of `samples/`, which the tests run against a real server."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "samples"


@dataclass(frozen=True)
class Language:
    """How its files end, what people call it, and what stands in a program whose address and key are filled in."""

    ending: str
    name: str
    filled: tuple[tuple[str, str], ...]


LANGUAGES = (
    Language("sh", "curl", (("$VOUCHSAFE_URL", "{address}"), ("$VOUCHSAFE_KEY", "{secret}"))),
    Language(
        "py",
        "Python",
        (
            ("from os import environ\n\n", ""),
            ('environ["VOUCHSAFE_URL"] + "', '"{address}'),
            ('"Bearer " + environ["VOUCHSAFE_KEY"]', '"Bearer {secret}"'),
        ),
    ),
    Language(
        "mjs",
        "JavaScript",
        (
            ('process.env.VOUCHSAFE_URL + "', '"{address}'),
            ('"Bearer " + process.env.VOUCHSAFE_KEY', '"Bearer {secret}"'),
        ),
    ),
    Language(
        "php",
        "PHP",
        (
            ("getenv('VOUCHSAFE_URL') . '", "'{address}"),
            ("'Authorization: Bearer ' . getenv('VOUCHSAFE_KEY')", "'Authorization: Bearer {secret}'"),
        ),
    ),
    Language(
        "cs",
        "C#",
        (
            ('Environment.GetEnvironmentVariable("VOUCHSAFE_URL") + "', '"{address}'),
            ('Environment.GetEnvironmentVariable("VOUCHSAFE_KEY")', '"{secret}"'),
        ),
    ),
)


def fences(name: str) -> str:
    """The sample in every language, as Markdown."""
    return "\n".join(_fence(language, _text(name, language)) for language in LANGUAGES)


def filled_fences(name: str, *, address: str, secret: str) -> str:
    """The same with the address of this server and a key instead of the environment's, ready to be pasted."""
    return "\n".join(_fence(each, _fill(_text(name, each), each, address, secret)) for each in LANGUAGES)


def _text(name: str, language: Language) -> str:
    return (FOLDER / f"{name}.{language.ending}").read_text(encoding="utf-8").rstrip()


def _fence(language: Language, text: str) -> str:
    return f"```{language.ending} {language.name}\n{text}\n```"


def _fill(text: str, language: Language, address: str, secret: str) -> str:
    for read, filled in language.filled:
        text = text.replace(read, filled.format(address=address, secret=secret))
    return text
