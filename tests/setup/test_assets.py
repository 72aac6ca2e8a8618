"""Browser files and fonts: exactly the pinned ones, complete, and without the network the second time."""

import io
import re

import pytest
from fontTools.ttLib import TTFont

from setup import ROOT, assets
from tests.setup.workshop import make_wheel

FILES = {"tool.js": "toolbox/static/tool.js", "fonts/LICENSE.txt": "toolbox/LICENSE"}


@pytest.fixture
def toolbox(shelf, tmp_path):
    """A pinned package on the shelf, and the arguments that fetch its two files."""
    wheel_hash = make_wheel(shelf, "toolbox", {"toolbox/static/tool.js": b"tool()", "toolbox/LICENSE": b"free"})
    pins = tmp_path / "assets.txt"
    pins.write_text(f"toolbox==1.0 --hash=sha256:{wheel_hash}\n")
    return {"pins": pins, "files": FILES, "web_fonts": {}}


def test_the_files_come_out_of_the_pinned_package(toolbox, tmp_path):
    assets.prepare(tmp_path / "vendor", **toolbox)

    assert (tmp_path / "vendor/tool.js").read_bytes() == b"tool()"
    assert (tmp_path / "vendor/fonts/LICENSE.txt").read_bytes() == b"free"


def test_a_complete_folder_needs_no_network(toolbox, tmp_path, shelf):
    assets.prepare(tmp_path / "vendor", **toolbox)
    next(shelf.iterdir()).unlink()

    assets.prepare(tmp_path / "vendor", **toolbox)

    assert (tmp_path / "vendor/tool.js").read_bytes() == b"tool()"


def change(file):
    file.write_bytes(b"evil()")


def lose(file):
    file.unlink()


@pytest.mark.parametrize("damage", [change, lose])
def test_a_file_that_was_changed_or_lost_is_put_back(toolbox, tmp_path, damage):
    assets.prepare(tmp_path / "vendor", **toolbox)
    damage(tmp_path / "vendor/tool.js")

    assets.prepare(tmp_path / "vendor", **toolbox)

    assert (tmp_path / "vendor/tool.js").read_bytes() == b"tool()"


def test_a_package_with_another_hash_stops_before_anything_is_written(toolbox, tmp_path, shelf, capfd):
    make_wheel(shelf, "toolbox", {"toolbox/static/tool.js": b"evil()", "toolbox/LICENSE": b"free"})

    with pytest.raises(SystemExit, match="somebody may have replaced a package"):
        assets.prepare(tmp_path / "vendor", **toolbox)

    assert not (tmp_path / "vendor").exists()
    assert "HASHES" in capfd.readouterr().err


def test_a_package_without_the_file_is_named(toolbox, tmp_path):
    with pytest.raises(SystemExit, match=r"do not hold toolbox/gone\.js"):
        assets.prepare(tmp_path / "vendor", **{**toolbox, "files": {"gone.js": "toolbox/gone.js"}})


def test_every_asset_is_pinned_to_one_version_and_one_hash():
    pins = [line for line in assets.PINS.read_text().splitlines() if line and not line.startswith("#")]

    assert pins
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}", pin) for pin in pins)


def read_font(path):
    return TTFont(io.BytesIO(path.read_bytes()), lazy=True)


def document_fonts():
    paths = [assets.VENDOR / target for target in assets.FILES if target.endswith(".ttf")]
    return {path.name: read_font(path) for path in paths}


@pytest.mark.parametrize("name", assets.WEB_FONTS)
def test_a_web_font_is_small_and_has_the_letters_of_a_german_gift_shop(name):
    letters = "Gutschein für Zoë: äöüÄÖÜßẞ 1.234,50 € £ § „so“ ‚so‘ “so” ‘so’ »so« – — … 0123456789"

    assert (assets.VENDOR / name).stat().st_size <= 25 * 1024
    assert set(map(ord, letters)) <= set(read_font(assets.VENDOR / name).getBestCmap())


@pytest.mark.parametrize("name", assets.WEB_FONTS)
def test_a_web_font_does_not_bear_the_reserved_name(name):
    names = read_font(assets.VENDOR / name)["name"]

    assert [names.getDebugName(number) for number in (1, 4, 6) if "Source" in names.getDebugName(number)] == []
    assert "Open Font License" in names.getDebugName(13)


def test_the_fonts_of_the_document_cover_what_people_write():
    covered = {letter for font in document_fonts().values() for letter in font.getBestCmap()}

    texts = "Łódź Ἀθήνα Ελλάδα Київ Հայ ქარ עברית العربية हिन्दी বাংলা தமிழ் ไทย ລາວ አማርኛ € ₺ ✓ ☎ ♥ ★ ● ☕ 🎉 🎂"
    assert [letter for letter in texts if ord(letter) not in covered] == []


def test_the_fonts_of_the_document_have_one_weight_each():
    assert [name for name, font in document_fonts().items() if "fvar" in font] == []


def test_every_font_that_the_document_asks_for_is_fetched():
    wanted = set(re.findall(r'"([\w-]+\.ttf)"', (ROOT / "gateways/document_press.py").read_text()))

    assert wanted - set(document_fonts()) == set()
