"""The translations: `messages.po` is what people edit, `messages.mo` is what the shop reads.

`python -m setup.catalogues` compiles what is older than its source; `python -m setup.catalogues --collect` first brings
every text of the code and the templates into both catalogues. A catalogue in which nothing changed keeps its bytes.
"""

import io
import sys
from pathlib import Path
from typing import Any

from setup import ROOT, say

TRANSLATIONS = ROOT / "translations"
LANGUAGES = ("de", "en")
KEYWORDS = {"_l": None, "lazy_gettext": None, "lazy_ngettext": (1, 2), "lazy_pgettext": ((1, "c"), 2)}


def compile_stale(translations: Path = TRANSLATIONS) -> None:
    """Write each `messages.mo` that is missing or older than its `messages.po`; no catalogue at all is fine."""
    for source in sorted(translations.glob("*/LC_MESSAGES/*.po")):
        target = source.with_suffix(".mo")
        if not target.exists() or target.stat().st_mtime <= source.stat().st_mtime:
            _compile(source, target)


def collect(root: Path = ROOT, *, languages: tuple[str, ...] = LANGUAGES) -> None:
    """Bring the texts of the code and the templates below `root` into the catalogue of each language."""
    from babel.messages.catalog import Catalog

    template = Catalog(project="Vouchsafe", charset="utf-8")
    for _, _, message, comments, context in said(root):
        template.add(message, auto_comments=comments, context=context)
    for language in languages:
        source = root / "translations" / language / "LC_MESSAGES" / "messages.po"
        say(f"{source.relative_to(root)}: {_merge(source, template, language)}")


def said(root: Path = ROOT) -> Any:
    """Every text of the code and the templates below `root`: (file, line, text, comments, context)."""
    from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
    from babel.messages.frontend import parse_mapping_cfg

    with (ROOT / "setup" / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    return extract_from_dir(
        root,
        methods,
        options,
        keywords={**DEFAULT_KEYWORDS, **KEYWORDS},
        comment_tags=("L10N:",),
        strip_comment_tags=True,
    )


def _merge(source: Path, template: Any, language: str) -> str:
    """Update one catalogue and say how it stands. Texts that are gone are dropped: their history is in git."""
    from babel.messages.pofile import read_po

    before = source.read_bytes() if source.exists() else b""
    catalogue = read_po(io.BytesIO(before), locale=language)
    catalogue.update(template, no_fuzzy_matching=True, update_creation_date=False)
    catalogue.obsolete.clear()
    after = _as_text(catalogue)
    if after != before:
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(after)
    texts = [message for message in catalogue if message.id]
    missing = sum(not all(_strings(message)) for message in texts)
    return f"{len(texts)} texts, {missing} without a translation{'' if after != before else ', nothing changed'}"


def _as_text(catalogue: Any) -> bytes:
    """Without places in the code and without dates: both would change the file although no text has."""
    from babel.messages.pofile import write_po

    out = io.BytesIO()
    write_po(out, catalogue, width=120, no_location=True, sort_output=True, omit_header=True, ignore_obsolete=True)
    forms = f"nplurals={catalogue.num_plurals}; plural={catalogue.plural_expr};"
    header = (
        'msgid ""\nmsgstr ""\n'
        f'"Language: {catalogue.locale}\\n"\n'
        '"Content-Type: text/plain; charset=utf-8\\n"\n'
        '"Content-Transfer-Encoding: 8bit\\n"\n'
        f'"Plural-Forms: {forms}\\n"\n\n'
    )
    return header.encode() + out.getvalue()


def _strings(message: Any) -> tuple[str, ...]:
    return message.string if isinstance(message.string, tuple) else (message.string,)


def _compile(source: Path, target: Path) -> None:
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import PoFileError, read_po

    say(f"Compiling {source.parent.parent.name}/{source.name} …")
    try:
        with source.open("rb") as file:
            catalogue = read_po(file, abort_invalid=True)
    except (PoFileError, ValueError) as error:
        sys.exit(f"{source} cannot be read: {error}")
    fresh = target.with_suffix(".mo.new")
    with fresh.open("wb") as out:
        write_mo(out, catalogue)
    fresh.replace(target)


if __name__ == "__main__":
    if "--collect" in sys.argv[1:]:
        collect()
    compile_stale()
