"""htmx and the fonts: taken from pinned packages whose SHA-256 is known (`assets.txt`), put into `static/vendor/`.

They are other people's work, so they are not in this repository. After set-up everything is on this machine and no page
or voucher loads anything from elsewhere. A package whose hash is another one stops the set-up before a file is changed.
"""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from setup import ROOT, fonts, say, stamps

PINS = ROOT / "setup" / "assets.txt"
VENDOR = ROOT / "static" / "vendor"

_SERIF = "font_source_serif_pro/files"
_MONO = "fontpkg_ibm_plex_mono"
_NOTO = "manimgx_fonts"
_DEJAVU = "matplotlib/mpl-data/fonts/ttf"
_NOTO_SCRIPTS = (
    *("", "Arabic", "Armenian", "Bengali", "Devanagari", "Ethiopic", "Georgian", "Gujarati", "Gurmukhi", "Hebrew"),
    *("Kannada", "Khmer", "Lao", "Malayalam", "Myanmar", "Oriya", "Sinhala", "Symbols", "Tamil", "Telugu", "Thai"),
)

# Where each file goes below static/vendor/, and where it is in its wheel.
FILES = {
    "htmx.min.js": "django_htmx/static/django_htmx/htmx-2.min.js",
    "fonts/SourceSerifPro-Regular.ttf": f"{_SERIF}/SourceSerifPro-Regular.ttf",
    "fonts/SourceSerifPro-It.ttf": f"{_SERIF}/SourceSerifPro-It.ttf",
    "fonts/SourceSerifPro-Semibold.ttf": f"{_SERIF}/SourceSerifPro-Semibold.ttf",
    "fonts/SourceSerifPro-LICENSE.txt": f"{_SERIF}/LICENSE.txt",
    "fonts/IBMPlexMono-Medium.ttf": f"{_MONO}/files/IBMPlexMono-Medium.ttf",
    "fonts/IBMPlexMono-LICENSE.txt": f"{_MONO}/LICENSE",
    **{f"fonts/NotoSans{script}.ttf": f"{_NOTO}/NotoSans{script}[wght].ttf" for script in _NOTO_SCRIPTS},
    "fonts/NotoEmoji.ttf": f"{_NOTO}/NotoEmoji[wght].ttf",
    "fonts/Noto-LICENSE.txt": f"{_NOTO}-2026.9.26.post1.dist-info/licenses/LICENSE",
    "fonts/DejaVuSans.ttf": f"{_DEJAVU}/DejaVuSans.ttf",
    "fonts/DejaVuSans-LICENSE.txt": f"{_DEJAVU}/LICENSE_DEJAVU",
}
# What browsers get, made out of the files above.
WEB_FONTS = {
    "serif-regular.woff2": "fonts/SourceSerifPro-Regular.ttf",
    "serif-semibold.woff2": "fonts/SourceSerifPro-Semibold.ttf",
}

# The same wheel on every machine: only data comes out of it, so the platform of this one does not matter.
_ONE_WHEEL = ("--platform", "manylinux2014_x86_64", "--python-version", "3.11", "--implementation", "cp")


def prepare(
    vendor: Path = VENDOR,
    *,
    pins: Path = PINS,
    files: Mapping[str, str] = FILES,
    web_fonts: Mapping[str, str] = WEB_FONTS,
) -> None:
    """Fill `vendor`, or do nothing when every file in it is as it was left; ends the process when a hash is wrong."""
    stamp, targets = vendor / ".stamp", [*files, *web_fonts]
    recipe = stamps.digest(pins.read_bytes(), repr(files), repr(web_fonts), fonts.RECIPE)
    if stamps.is_current(stamp, _state(recipe, vendor, targets)):
        return
    say("Fetching htmx and the fonts …")
    with tempfile.TemporaryDirectory() as folder:
        _download(pins, Path(folder))
        contents = {target: fonts.static(data) for target, data in _read(Path(folder), files).items()}
    contents |= {target: fonts.web_subset(contents[source]) for target, source in web_fonts.items()}
    for target, data in contents.items():
        _write(vendor / target, data)
    stamps.write(stamp, _state(recipe, vendor, targets))


def _state(recipe: str, vendor: Path, targets: list[str]) -> str:
    """What was asked for, and what lies there: either may have changed since."""
    present = [(vendor / target).read_bytes() if (vendor / target).is_file() else b"" for target in targets]
    return stamps.digest(recipe, *present)


def _download(pins: Path, folder: Path) -> None:
    """Let pip fetch exactly the pinned wheels; it compares the hashes before it hands them over."""
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check")
    options = ("--no-deps", "--only-binary=:all:", "--require-hashes", *_ONE_WHEEL, "--dest", folder, "-r", pins)
    done = subprocess.run((*pip, *options), stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(
            "pip could not fetch htmx and the fonts as they are pinned; its message is above. Nothing was changed.\n"
            "If it says that the hashes do not match, somebody may have replaced a package: find out first."
        )


def _read(folder: Path, files: Mapping[str, str]) -> dict[str, bytes]:
    """The contents of the files, by their target."""
    wheels = [zipfile.ZipFile(path) for path in folder.glob("*.whl")]
    holder = {name: wheel for wheel in wheels for name in wheel.namelist()}
    missing = sorted(set(files.values()) - set(holder))
    if missing:
        sys.exit(f"The pinned packages do not hold {', '.join(missing)}. Nothing was changed.")
    return {target: holder[name].read(name) for target, name in files.items()}


def _write(path: Path, data: bytes) -> None:
    """Replace the file in one step: a shop that is running never serves half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(data)
    fresh.replace(path)


if __name__ == "__main__":
    prepare()
