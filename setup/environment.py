"""The checkout's own Python environment in `.venv`, with exactly the pinned packages.

pip runs only when a requirements file or the interpreter has changed since the last time.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setup import ROOT, VENV, VENV_PYTHON, say, stamps, system

RUNTIME = ("requirements.txt",)
TESTS = ("requirements.txt", "requirements-dev.txt")


def prepare(*, with_tests: bool) -> None:
    """Make `.venv` and fill it; ends the process with a sentence when that cannot be done."""
    if not is_whole(VENV):
        _create(VENV)
    # What the tests need holds what the shop needs, so their stamp vouches for both.
    wanted = [TESTS] if with_tests else [RUNTIME, TESTS]
    if not any(stamps.is_current(_stamp(names), _state(names)) for names in wanted):
        _install(wanted[0])


def is_whole(venv: Path) -> bool:
    """Whether this environment works: it does not when its Python is gone, its folder was moved, its making cut off."""
    try:
        settings = (venv / "pyvenv.cfg").read_text()
    except FileNotFoundError:
        return False
    version = re.search(r"^version\w* = (\d+\.\d+)", settings, re.M)
    made_for = re.search(r"^command = .* -m venv .*?(/\S.*)$", settings, re.M)
    is_at_home = made_for is None or Path(made_for[1]).resolve() == venv.resolve()
    is_runnable = version is not None and (venv / "bin" / f"python{version[1]}").exists()
    return is_at_home and is_runnable and all((venv / "bin" / name).exists() for name in ("python", "pip"))


def run(*arguments: str) -> None:
    """Run the environment's Python at the top of the checkout; ends the process with its status when it fails."""
    done = subprocess.run((VENV_PYTHON, *arguments), cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def _create(venv: Path) -> None:
    _insist_on_ensurepip()
    say(f"Making the Python environment in {venv.name} …")
    shutil.rmtree(venv, ignore_errors=True)
    made = subprocess.run((sys.executable, "-m", "venv", venv), capture_output=True, text=True, check=False)
    if made.returncode:
        sys.exit(f"{made.stdout}{made.stderr}Python could not make {venv}; its message is above.")


def _insist_on_ensurepip() -> None:
    """Debian and Ubuntu ship this part of Python's standard library as a package of its own."""
    if _has_ensurepip():
        return
    package = "python{}.{}-venv".format(*sys.version_info)
    if system.install(package) and _has_ensurepip():
        return
    sys.exit(
        f"Python's venv module is not complete here. Install it, then run this again: {system.by_hand(package)}"
        if shutil.which("apt-get")
        else "Python's venv module is not complete here: install your system's python3-venv or python3-pip package."
    )


def _has_ensurepip() -> bool:
    importlib.invalidate_caches()
    return all(map(importlib.util.find_spec, ("venv", "ensurepip")))


def _install(names: tuple[str, ...]) -> None:
    say(f"Installing the packages of {names[-1]} (a minute or two the first time) …")
    pip = (VENV_PYTHON, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check")
    done = subprocess.run((*pip, "-r", names[-1]), cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(f"pip could not install the packages of {names[-1]}; its message is above.")
    stamps.write(_stamp(names), _state(names))


def _stamp(names: tuple[str, ...]) -> Path:
    return VENV / f"{Path(names[-1]).stem}.stamp"


def _state(names: tuple[str, ...]) -> str:
    return stamps.digest((VENV / "pyvenv.cfg").read_bytes(), *((ROOT / name).read_bytes() for name in names))
