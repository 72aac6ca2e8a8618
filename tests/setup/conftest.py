"""A small checkout of its own for each test: set-up really runs there, without the network."""

import shutil

import pytest

from setup import ROOT


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder that pip takes packages from, and nowhere else."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.fixture
def checkout(tmp_path, shelf):
    """The set-up scripts in a checkout that asks for no package."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "setup", folder / "setup", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements.txt", "requirements-dev.txt"):
        (folder / name).write_text("")
    return folder
