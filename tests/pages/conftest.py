"""The demo as its user starts it, and a real Chromium in front of it."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

import config
from tests.processes import wait_until

_OWN_SETTINGS = re.compile(r"(DATABASE|QUEUE|STRIPE|MAIL|SECRET|CODE|BASE|KICKS)_?")


@dataclass(frozen=True)
class Demo:
    """A running demo."""

    url: str
    environment: dict[str, str]

    def flask(self, *arguments: str) -> str:
        """What `flask …` beside the demo prints; fails when it exits with an error."""
        command = [sys.executable, "-m", "flask", *arguments]
        done = subprocess.run(command, env=self.environment, cwd=config.ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`flask demo` on a free port with a data folder of its own, ended by SIGTERM."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not _OWN_SETTINGS.match(name)}
    environment |= {"PORT": str(port), "DATA_DIR": str(tmp_path_factory.mktemp("demo"))}
    log = tmp_path_factory.mktemp("log") / "demo.log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "flask", "demo"]
        process = subprocess.Popen(command, env=environment, cwd=config.ROOT, stdout=out, stderr=out)
        url = f"http://localhost:{port}"
        try:
            wait_until(lambda: process.poll() is not None or _is_ready(url), seconds=90, what="the demo's start")
            assert process.poll() is None, log.read_text()
            # The commands beside the demo find its ports by themselves: without PORT.
            yield Demo(url, {name: value for name, value in environment.items() if name != "PORT"})
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
    assert process.returncode == 0, log.read_text()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture(params=["with JavaScript", "without JavaScript"])
def person(request: pytest.FixtureRequest, chromium: Browser, demo: Demo) -> Iterator[Page]:
    """Somebody with a phone; whatever the console complains about fails the test."""
    context = chromium.new_context(
        base_url=demo.url,
        locale="de-AT",
        viewport={"width": 390, "height": 844},
        java_script_enabled=request.param == "with JavaScript",
        accept_downloads=True,
    )
    yield from _watched(context)


@pytest.fixture
def merchant_at_desk(chromium: Browser, demo: Demo) -> Iterator[Page]:
    """Somebody at a desk, with JavaScript."""
    yield from _watched(
        chromium.new_context(base_url=demo.url, locale="de-AT", viewport={"width": 1280, "height": 900})
    )


def _watched(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert complaints == []


def _is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def has_no_sideways_scroll(page: Page) -> bool:
    """True when the page fits the screen's width."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def downloaded(page: Page, link: str, folder: Path) -> bytes:
    """The file behind a link of the page."""
    with page.expect_download() as waiting:
        page.get_by_role("link", name=link).first.click()
    target = folder / "file"
    waiting.value.save_as(target)
    return target.read_bytes()
