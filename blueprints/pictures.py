"""QR codes as plain numbers for an inline SVG: the template draws them, no markup is made here."""

import functools
import io
import re
from dataclasses import dataclass

import segno

_PATH = re.compile(r' d="([^"]+)"')
_QUIET_ZONE = 4  # modules, as ISO 18004 wants it


@dataclass(frozen=True)
class Qr:
    """`size` in modules with the quiet zone; `path` draws the dark ones."""

    size: int
    path: str


@functools.lru_cache(maxsize=256)
def qr(text: str) -> Qr:
    """The QR code of `text`, error correction M."""
    code = segno.make(text, error="m", micro=False)
    drawn = io.BytesIO()
    code.save(drawn, kind="svg", border=_QUIET_ZONE, xmldecl=False, svgns=False, lineclass=None)
    found = _PATH.search(drawn.getvalue().decode())
    return Qr(code.symbol_size(border=_QUIET_ZONE)[0], found.group(1) if found else "")
