"""The browser that some tests drive. The shop itself does not need one."""

import shutil

from setup import say, system

NAMES = ("chromium", "chromium-browser", "google-chrome")


def prepare() -> None:
    """Install Chromium where apt may be used; otherwise say that the tests which drive a browser will be skipped."""
    if any(map(shutil.which, NAMES)) or system.install("chromium"):
        return
    say(f"There is no Chromium, so the browser tests are skipped. To have them: {system.by_hand('chromium')}")


if __name__ == "__main__":
    prepare()
