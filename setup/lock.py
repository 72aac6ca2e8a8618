"""One set-up at a time: two terminals that both say `make` must not install into the same folder together."""

import contextlib
import fcntl
from collections.abc import Iterator

from setup import ROOT, say


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Hold the checkout's set-up lock; waits, and says so, while another set-up has it."""
    with (ROOT / "requirements.txt").open() as door:
        try:
            fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another set-up is running in this checkout; waiting for it …")
            fcntl.flock(door, fcntl.LOCK_EX)
        yield
