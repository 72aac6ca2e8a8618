"""Pango from the checkout itself, for a machine where nobody may install system packages.

Set-up then unpacks the libraries into `native/` of the Python environment and lists them in the order in which they
need each other. Once a library is loaded by its path, whoever asks for it by name gets that one.
"""

import ctypes
import os
import sys
from pathlib import Path

LIST = "libraries.txt"
FONT_SETTINGS = "fonts.conf"


def preload(folder: Path | None = None) -> int:
    """Load the unpacked libraries, before WeasyPrint is imported, and say how many; 0 when set-up unpacked none.

    Raises OSError when a listed library cannot be loaded. Changes the process: call it only in the one that prints.
    """
    folder = folder or Path(sys.prefix) / "native"
    listed = folder / LIST
    if not listed.is_file():
        return 0
    # For fontconfig's C code, which reads the process environment; nothing of ours reads it back.
    os.putenv("FONTCONFIG_FILE", str(folder / FONT_SETTINGS))
    paths = [folder / line for line in listed.read_text().splitlines()]
    for path in paths:
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    return len(paths)
