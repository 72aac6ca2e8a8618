"""Pango, the one part of the PDF renderer that pip cannot bring on Linux.

Tried in this order: it is there; apt as root or by sudo without a password; the same packages unpacked inside `.venv`
for this checkout alone; else one sentence that says what to install. The shop runs without it, only PDFs are not made.
"""

import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from gateways import native
from setup import ROOT, VENV, say, stamps, system
from setup.assets import VENDOR

PACKAGES = ("libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0")
FOLDER = VENV / "native"
STAMP = VENV / "native.stamp"

_FONT_SETTINGS = """<?xml version="1.0"?>
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <dir>{fonts}</dir>
  <cachedir>{cache}</cachedir>
</fontconfig>
"""
_TRY = "from gateways import native; native.preload(); import weasyprint"


def prepare() -> None:
    """Make sure that WeasyPrint can be imported. Never ends the process: a shop without PDFs is better than none."""
    state = stamps.digest((ROOT / "requirements.txt").read_bytes(), platform.platform())
    if stamps.is_current(STAMP, state) and _has_library("libpangoft2-1.0.so.0"):
        return
    # Without HarfBuzz's subsetter it prints as well, five times as slowly: worth an attempt, not a complaint.
    is_complete = _can_print() and _has_library("libharfbuzz-subset.so.0")
    if is_complete or _provide():
        stamps.write(STAMP, state)
    else:
        say(f"Pango is missing, so vouchers have a web page but no PDF. To have them: {_advice()}")


def _provide() -> bool:
    if system.install(*PACKAGES) and _can_print():
        return True
    if _unpack() and _can_print():
        return True
    shutil.rmtree(FOLDER, ignore_errors=True)
    return _can_print()


def _has_library(name: str) -> bool:
    """Whether a library is still there, without the second that WeasyPrint takes to import."""
    if (FOLDER / native.LIST).is_file() or sys.platform != "linux":
        return True
    try:
        return bool(ctypes.CDLL(name))
    except OSError:
        return False


def _can_print() -> bool:
    """Try the import in a process of its own: a wrong library can end it without a word."""
    tried = subprocess.run((sys.executable, "-c", _TRY), cwd=ROOT, capture_output=True, check=False)
    return tried.returncode == 0


def _advice() -> str:
    if sys.platform == "darwin":
        return "brew install pango"
    if shutil.which("apt-get"):
        return system.by_hand(*PACKAGES)
    return "install Pango 1.44 or newer and HarfBuzz with your system's package manager"


def _unpack() -> bool:
    """Download the packages as an ordinary user and unpack them into `.venv/native`."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return False
    say(f"Unpacking Pango into {FOLDER.relative_to(ROOT)}, for this checkout alone …")
    shutil.rmtree(FOLDER, ignore_errors=True)
    archives = FOLDER / "archives"
    archives.mkdir(parents=True)
    options = () if system.has_candidate(PACKAGES[0]) else _own_package_lists(FOLDER / "apt")
    _run("apt-get", *options, "-qq", "download", *_missing_packages(*options), folder=archives)
    for archive in archives.glob("*.deb"):
        _run("dpkg-deb", "--extract", str(archive), str(FOLDER), folder=FOLDER)
    for leftover in (archives, FOLDER / "apt", FOLDER / "usr" / "share" / "doc"):
        shutil.rmtree(leftover, ignore_errors=True)
    return _write_list(FOLDER) > 0


def _own_package_lists(folder: Path) -> tuple[str, ...]:
    """Package lists in a folder of our own, where the system's are empty, as in many container images."""
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "cache").mkdir()
    options = ("-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}")
    _run("apt-get", *options, "-qq", "update", folder=folder)
    return options


def _missing_packages(*options: str) -> list[str]:
    """What apt would install anew: their names differ between releases. What it would only upgrade stays as it is."""
    plan = _run("apt-get", *options, "-s", "-qq", "--no-install-recommends", "install", *PACKAGES, folder=FOLDER)
    return re.findall(r"^Inst (\S+) \(", plan, re.M)


def _write_list(folder: Path) -> int:
    """List the libraries in an order in which each finds what it needs already loaded, found by trying."""
    waiting = sorted(path for path in folder.rglob("*.so.*") if not path.is_symlink())
    if not waiting:
        return 0
    (folder / native.FONT_SETTINGS).write_text(_FONT_SETTINGS.format(fonts=VENDOR / "fonts", cache=folder / "fonts"))
    ordered = _loading_order(waiting)
    (folder / native.LIST).write_text("".join(f"{path.relative_to(folder)}\n" for path in ordered))
    return len(ordered)


def _loading_order(waiting: list[Path]) -> list[Path]:
    ordered: list[Path] = []
    while fitting := [path for path in waiting if path not in ordered and _loads(path)]:
        ordered += fitting
    return ordered


def _loads(path: Path) -> bool:
    try:
        return bool(ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL))
    except OSError:
        return False


def _run(*command: str, folder: Path) -> str:
    """What the command printed; whether it worked shows in what it left behind."""
    settings = {"cwd": folder, "env": {**os.environ, "LC_ALL": "C"}, "stdin": subprocess.DEVNULL}
    return subprocess.run(command, capture_output=True, text=True, check=False, **settings).stdout


if __name__ == "__main__":
    prepare()
