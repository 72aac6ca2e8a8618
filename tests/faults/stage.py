"""The stage: a process with the whole app warm, which forks a child for each performance of a sale.

A fork costs milliseconds where a fresh process costs seconds, so thousands of deaths are affordable. The stage has one
thread and no open connection when it forks; what the children share is a warm renderer, and one that a child left in
mid-page is replaced.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import config
from tests import processes
from tests.faults.fault import Fault


@dataclass(frozen=True)
class Sale:
    """A paid order of which nobody has told us yet: its id, and Stripe's signed event."""

    order_id: int
    body: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Ending:
    """How a performance ended: `killed`, `stopped` (it hangs), `finished`.

    `where` names the point of the fault, `answer` is the status that Stripe heard or None, `passed` lists the points
    of a whole performance without a fault, `complaint` is an error that nobody caught.
    """

    how: str
    where: str = ""
    answer: int | None = None
    passed: list[str] = field(default_factory=list)
    complaint: str = ""


class Stage:
    """The stage as a test sees it. Raises AssertionError when the stage itself breaks; its log is in `log`."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process, self.log = process, log

    def warm(self, sale: Sale) -> None:
        """One whole sale in the stage itself: templates, imports and the renderer are loaded from then on."""
        self._ask({"do": "warm", "sale": asdict(sale)})

    def play(self, sale: Sale, fault: Fault) -> Ending:
        """The event arrives, the worker works, and on its way the child meets `fault`."""
        return Ending(**self._ask({"do": "play", "sale": asdict(sale), "fault": asdict(fault)}))

    def recover(self, sale: Sale, *, by: str) -> Ending:
        """Time passes and another process does what is left; `by` `webhook` (Stripe repeats) or `reconciler`."""
        return Ending(**self._ask({"do": "recover", "sale": asdict(sale), "by": by}))

    def overtake(self, sale: Sale, *, seconds: float = 1.0) -> Ending:
        """While a child hangs its lease runs out and another works on; after `seconds` at most it is woken.

        Both go on to their ends; the ending is that of the one that hung.
        """
        return Ending(**self._ask({"do": "overtake", "sale": asdict(sale), "seconds": seconds}))

    def _ask(self, wish: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the stage fell down:\n{self.log.read_text()[-3000:]}"
        return dict(json.loads(answer))


@contextmanager
def standing(settings: config.Settings, *, log: Path) -> Iterator[Stage]:
    """A stage over the test's own settings, taken down at the end."""
    command = [sys.executable, "-m", "tests.faults.performance"]
    with log.open("w") as complaints:
        process = subprocess.Popen(
            command,
            env=processes.environment(settings),
            cwd=config.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            start_new_session=True,
        )
        try:
            yield Stage(process, log)
        finally:
            processes.kill(process)
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                stream.close()
