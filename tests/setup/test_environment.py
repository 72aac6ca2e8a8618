"""The Python environment: made once, filled when the pins change, made anew when it is broken, plain about failures."""

import ast
import shutil
import time
from pathlib import Path

import pytest

from setup import ROOT, environment
from tests.setup.workshop import make_wheel, run_python

PREPARE = "from setup import environment; environment.prepare(with_tests={})"


def prepare(checkout, *, with_tests=False):
    return run_python(checkout, "-c", PREPARE.format(with_tests))


def has_module(checkout, name):
    found = run_python(checkout, "-c", f"import {name}", python=str(checkout / ".venv/bin/python"))
    return found.returncode == 0


def test_the_pinned_packages_are_installed_once_and_again_when_the_pins_change(checkout, shelf):
    make_wheel(shelf, "gift", {"gift.py": b""})
    make_wheel(shelf, "ribbon", {"ribbon.py": b""})
    (checkout / "requirements.txt").write_text("gift==1.0\n")
    first = prepare(checkout)
    assert (first.returncode, first.stderr) == (0, "")
    assert has_module(checkout, "gift")

    started = time.monotonic()
    second = prepare(checkout)
    assert (second.stdout, second.stderr) == ("", "")
    assert time.monotonic() - started < 2

    (checkout / "requirements.txt").write_text("gift==1.0\nribbon==1.0\n")
    assert prepare(checkout).returncode == 0
    assert has_module(checkout, "ribbon")


def test_an_environment_for_the_tests_serves_the_shop_too(checkout, shelf):
    assert prepare(checkout, with_tests=True).returncode == 0

    assert prepare(checkout, with_tests=False).stdout == ""


def test_a_package_that_cannot_be_had_shows_what_pip_says(checkout):
    (checkout / "requirements.txt").write_text("no-such-gift==1.0\n")

    failed = prepare(checkout)

    assert failed.returncode == 1
    assert "No matching distribution found for no-such-gift==1.0" in failed.stderr
    assert failed.stderr.endswith("pip could not install the packages of requirements.txt; its message is above.\n")
    assert prepare(checkout).returncode == 1


def test_a_checkout_that_was_moved_gets_an_environment_that_works_there(checkout):
    assert prepare(checkout).returncode == 0

    moved = Path(shutil.move(checkout, checkout.with_name("moved")))

    assert "Making the Python environment" in prepare(moved).stdout
    assert str(moved) in (moved / ".venv/bin/pip").read_text()


def lose_interpreter(venv):
    for python in (venv / "bin").glob("python*"):
        python.unlink()
        python.symlink_to("/nowhere/python")


def cut_off(venv):
    (venv / "bin/pip").unlink()


def lose_settings(venv):
    (venv / "pyvenv.cfg").unlink()


@pytest.mark.parametrize("harm", [lose_interpreter, cut_off, lose_settings])
def test_a_broken_environment_is_known_as_one(tmp_path, harm):
    venv = tmp_path / ".venv"
    assert run_python(tmp_path, "-m", "venv", "--without-pip", str(venv)).returncode == 0
    (venv / "bin/pip").touch()
    assert environment.is_whole(venv)

    harm(venv)

    assert not environment.is_whole(venv)


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
def test_an_old_python_can_read_the_file_that_tells_it_so(name):
    ast.parse((ROOT / "setup" / name).read_text(), feature_version=(3, 7))


def test_two_set_ups_at_once_wait_for_each_other(checkout):
    holder = "from setup import lock; import time\nwith lock.held(): time.sleep(1)"
    both = "import subprocess as s, sys; [p.wait() for p in [s.Popen((sys.executable, *sys.argv[1:])) for _ in 'ab']]"

    started = time.monotonic()
    done = run_python(checkout, "-c", both, "-c", holder)

    assert time.monotonic() - started >= 2
    assert "Another set-up is running" in done.stdout
