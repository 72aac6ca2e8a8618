"""`python3 -m setup` makes this checkout ready to run; `python3 -m setup --tests` makes it ready to be tested.

Ends with status 1 and one sentence that says what to do when a step cannot be done.
"""

import os
import shutil
import sys

OLDEST = (3, 11)
NEWER_PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11")


def main() -> None:
    """Run every step in order, each in the environment that the one before has made."""
    _insist_on_python()
    from setup import browser, environment, lock

    with_tests = "--tests" in sys.argv[1:]
    with lock.held():
        environment.prepare(with_tests=with_tests)
        for step in ("assets", "catalogues", "native"):
            environment.run("-m", f"setup.{step}")
        if with_tests:
            browser.prepare()


def _insist_on_python() -> None:
    """Carry on under a newer Python where `python3` is an old one."""
    if sys.version_info >= OLDEST:
        return
    newer = next(filter(None, map(shutil.which, NEWER_PYTHONS)), None)
    if newer:
        os.execv(newer, [newer, "-m", "setup", *sys.argv[1:]])  # noqa: S606 - a list, no shell
    sys.exit(
        f"Vouchsafe needs Python 3.11 or newer, this is {sys.version_info[0]}.{sys.version_info[1]}. "
        "Install a newer one, then run this again (Debian 12, Ubuntu 24.04: apt-get install python3 python3-venv). "
        "If it has another name: make demo PYTHON=/path/to/python3.12"
    )


if __name__ == "__main__":
    main()
