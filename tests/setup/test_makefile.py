"""What a person types: the targets explain themselves, and a signal reaches the shop."""

import re
import shutil
import signal
import subprocess
import time

import pytest

from setup import ROOT

STAND_IN_SHOP = """#!/bin/sh
trap 'echo "shop closed" >> log; exit 0' TERM
echo "$* on ${PORT:-8000}" >> log
while :; do sleep 0.05; done
"""


@pytest.fixture
def stand_in(tmp_path):
    """The Makefile with a shop that only notes what happens to it."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "setup").mkdir()
    (tmp_path / "setup/__main__.py").write_text("")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/flask").write_text(STAND_IN_SHOP)
    (tmp_path / ".venv/bin/flask").chmod(0o755)
    return tmp_path


def wait_for(log, text):
    deadline = time.monotonic() + 10
    while not (log.exists() and text in log.read_text()):
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "nothing"
        time.sleep(0.02)


def test_help_is_the_default_and_names_every_target():
    shown = subprocess.run(("make", "--silent"), cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M)

    assert re.findall(r"^  make ([a-z-]+) +\S", shown, re.M) == targets
    assert {"demo", "test", "check", "bench", "messages", "clean"} <= set(targets)


def test_stopping_make_demo_stops_the_shop(stand_in):
    log = stand_in / "log"
    with subprocess.Popen(("make", "demo", "PORT=8123"), cwd=stand_in, stderr=subprocess.DEVNULL) as demo:
        wait_for(log, "demo on 8123")
        demo.send_signal(signal.SIGTERM)
        demo.wait(10)

    wait_for(log, "shop closed")


def test_ctrl_c_stops_the_shop(stand_in):
    (stand_in / ".venv/bin/flask").write_text(STAND_IN_SHOP.replace("TERM", "INT"))
    log = stand_in / "log"
    with subprocess.Popen(
        ("make", "demo"), cwd=stand_in, stderr=subprocess.DEVNULL, process_group=0, env={"PATH": "/usr/bin:/bin"}
    ) as demo:
        wait_for(log, "demo on 8000")
        subprocess.run(("kill", "-INT", "--", f"-{demo.pid}"), check=True)
        demo.wait(10)

    wait_for(log, "shop closed")


def test_a_missing_python_is_said_in_one_sentence(stand_in):
    failed = subprocess.run(("make", "setup", "PYTHON=no-such-python"), cwd=stand_in, capture_output=True, text=True)

    assert failed.returncode != 0
    assert "there is no 'no-such-python' here" in failed.stderr


def test_clean_leaves_the_data_alone(stand_in):
    (stand_in / "instance").mkdir()
    (stand_in / "instance/shop.db").write_text("money")

    subprocess.run(("make", "clean"), cwd=stand_in, capture_output=True, check=True)

    assert (stand_in / "instance/shop.db").read_text() == "money"
    assert not (stand_in / ".venv").exists()
