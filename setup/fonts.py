"""What is done to the fonts at set-up: variable ones are fixed at their regular weight, and two become small web fonts.

fontTools and brotli come with WeasyPrint; they are imported only when a font has to be made.
"""

import io
from typing import Any

FAMILY = "Vouchsafe Serif"
# What German, English and their neighbours need; anything else falls back to a font of the reader's own.
LETTERS = (
    *range(0x20, 0x7F),  # Basic Latin
    *range(0xA0, 0x100),  # Latin-1: ä ö ü ß é ñ £ § · « »
    *map(ord, "ŒœŠšŽžŸẞ"),
    *map(ord, "–—‘’‚“”„•…‹›€−→✓\u2009\u202f"),
)
FEATURES = ("kern", "liga", "mark", "lnum", "tnum", "pnum")
VARIATION_TABLES = ("fvar", "gvar", "avar", "cvar", "HVAR", "VVAR", "MVAR", "STAT")
RECIPE = repr((FAMILY, LETTERS, FEATURES, VARIATION_TABLES))


def static(data: bytes) -> bytes:
    """A variable font at its default weight, which prints ten times as fast; any other file as it is."""
    if not data.startswith((b"\0\1\0\0", b"OTTO")):
        return data
    from fontTools.ttLib import TTFont

    font = TTFont(io.BytesIO(data), lazy=True, recalcBBoxes=False, recalcTimestamp=False)
    if "fvar" not in font:
        return data
    for table in set(VARIATION_TABLES) & set(font.keys()):
        del font[table]
    out = io.BytesIO()
    font.save(out, reorderTables=False)
    return out.getvalue()


def web_subset(data: bytes) -> bytes:
    """The font as WOFF2 with `LETTERS` only, without hints, under a name of our own."""
    from fontTools import subset

    options = subset.Options(
        flavor="woff2",
        layout_features=list(FEATURES),
        hinting=False,
        name_IDs=[0, 1, 2, 3, 4, 6, 13, 14],
        name_languages=[0x409],
        notdef_outline=True,
    )
    font = subset.load_font(io.BytesIO(data), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=LETTERS)
    subsetter.subset(font)
    _rename(font["name"])
    out = io.BytesIO()
    subset.save_font(font, out, options)
    return out.getvalue()


def _rename(names: Any) -> None:
    """A changed font may not bear the reserved name of the one it was made from (Open Font License 1.1, clause 3)."""
    style = names.getDebugName(2)
    compact = FAMILY.replace(" ", "")
    for number, text in {1: FAMILY, 3: f"{compact}-{style}", 4: f"{FAMILY} {style}", 6: f"{compact}-{style}"}.items():
        names.setName(text, number, 3, 1, 0x409)
