"""Libraries unpacked into the checkout: loaded in their order before WeasyPrint looks for them by name."""

import shutil
from _ctypes import __file__ as some_library
from pathlib import Path

from gateways import native
from setup import ROOT
from tests.setup.workshop import run_python

PRELOAD = "import sys, pathlib; from gateways import native; print(native.preload(pathlib.Path(sys.argv[1])))"


def test_without_a_folder_nothing_is_loaded(tmp_path):
    assert native.preload(tmp_path / "native") == 0


def test_the_listed_libraries_are_loaded_in_their_order(tmp_path):
    shutil.copy(some_library, tmp_path / "libgift.so.1")
    (tmp_path / native.LIST).write_text("libgift.so.1\n")
    loaded_here = PRELOAD + "; print('libgift.so.1' in pathlib.Path('/proc/self/maps').read_text())"

    done = run_python(ROOT, "-c", loaded_here, str(tmp_path))

    assert done.stdout.split() == ["1", "True"]


def test_a_library_that_cannot_be_loaded_is_an_error(tmp_path):
    Path(tmp_path / "libgift.so.1").write_bytes(b"no library")
    (tmp_path / native.LIST).write_text("libgift.so.1\n")

    failed = run_python(ROOT, "-c", PRELOAD, str(tmp_path))

    assert "OSError" in failed.stderr


def test_the_renderer_can_be_imported_after_set_up():
    done = run_python(ROOT, "-c", "from gateways import native; native.preload(); import weasyprint")

    assert (done.returncode, done.stderr) == (0, "")
