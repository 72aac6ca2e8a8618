"""What runs on the stage: reads wishes as lines of JSON, forks a child for each, answers how it ended.

Started by `stage.standing`, never imported by a test.
"""

import dataclasses
import json
import mmap
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import IO, Any

import flask

import config
import database
from app import create_app
from effects import outside as outsides
from effects import work
from gateways.document import Press, Printed, VoucherDocument
from gateways.document_child import Child
from tests.faults import recovery, sockets
from tests.faults.fault import Fault, Points

_ROUNDS = 6
_PRINTS_PER_RENDERER = 300
_Tell = Callable[..., None]


class Performance:
    """The app, kept warm, and two renderers: the second is for those who come after a child that died or hangs."""

    def __init__(self) -> None:
        self._settings = config.Settings(_env_file=None)
        self._app = create_app(self._settings)
        self._first, self._second = _Renderer(), _Renderer()
        self._sleeper: tuple[int, IO[bytes]] | None = None

    def warm(self, sale: dict[str, Any]) -> dict[str, Any]:
        """One sale in this process."""
        self._use(self._second.press)
        _perform(self._app, sale, lambda **_: None)
        self._app.extensions["huey"].storage.close()
        database.db.obj.close_all()
        return {}

    def play(self, sale: dict[str, Any], fault: dict[str, Any]) -> dict[str, Any]:
        """A child meets its fault. One that hangs stays until `overtake`."""
        self._use(self._first.ready())
        pid, diary = _fork(lambda tell: self._play(sale, Fault(**fault), tell))
        _, status = os.waitpid(pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            self._sleeper = (pid, diary)
            return {"how": "stopped"}
        return _ending(status, diary)

    def recover(self, sale: dict[str, Any], by: str) -> dict[str, Any]:
        """A child does what is left."""
        self._use(self._second.ready())
        pid, diary = _fork(lambda tell: _recover(self._app, sale, by, tell))
        return _ending(os.waitpid(pid, 0)[1], diary)

    def overtake(self, sale: dict[str, Any], seconds: float) -> dict[str, Any]:
        """A child does what is left while another hangs, which is woken then."""
        assert self._sleeper is not None
        sleeper, sleepers_diary = self._sleeper
        self._sleeper = None
        self._use(self._second.ready())
        pid, diary = _fork(lambda tell: _recover(self._app, sale, "webhook", tell, rounds=1))
        deadline = time.monotonic() + seconds
        while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(sleeper, signal.SIGCONT)
        _ending(ended[1] if ended[0] else os.waitpid(pid, 0)[1], diary)
        return _ending(os.waitpid(sleeper, 0)[1], sleepers_diary)

    def _play(self, sale: dict[str, Any], fault: Fault, tell: _Tell) -> None:
        points = Points(fault, lambda where: tell(where=where))
        points.arm(self._app)
        _perform(self._app, sale, tell)
        points.disarm()
        tell(passed=points.passed)

    def _use(self, press: Press) -> None:
        # Stripe's client is new each time, so that no child inherits an open line.
        fresh = outsides.build(self._settings, ring=self._app.extensions["outside"].ring)
        self._app.extensions["outside"] = dataclasses.replace(fresh, press=press)


class _Renderer:
    """A warm press that forked children share, one after the other."""

    def __init__(self) -> None:
        self._marks = mmap.mmap(-1, 16)  # shared with the forks: how often it was asked, how often it answered
        self.press = Press()
        self.press.print = self._marked  # type: ignore[method-assign]
        self._start()

    def ready(self) -> Press:
        """The press, with a fresh renderer if somebody died while it was printing."""
        asked, answered = self._read()
        if asked != answered or asked > _PRINTS_PER_RENDERER:
            self.press.close()
            self._start()
        return self.press

    def _start(self) -> None:
        self._marks[:] = bytes(16)
        # Printed here, as only the first who asks hears that the renderer is ready.
        self.press.print(
            VoucherDocument(issuer_name="Vouchsafe", code="0", link="https://shop.example", identifier="0")
        )

    def _marked(self, document: VoucherDocument) -> Printed:
        asked, answered = self._read()
        self._marks[:8] = (asked + 1).to_bytes(8, "big")
        printed = Press.print(self.press, document)
        self._marks[8:] = (answered + 1).to_bytes(8, "big")
        return printed

    def _read(self) -> tuple[int, int]:
        return int.from_bytes(self._marks[:8], "big"), int.from_bytes(self._marks[8:], "big")


def _fork(run: Callable[[_Tell], None]) -> tuple[int, IO[bytes]]:
    # A file, as it never fills up and keeps what was told by somebody who is dead since.
    diary = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the one who reads it
    pid = os.fork()
    if pid:
        return pid, diary

    def tell(**facts: Any) -> None:
        os.write(diary.fileno(), json.dumps(facts).encode() + b"\n")

    code = 1
    try:
        # A fork is not the parent of the renderer that it inherits, and cannot ask whether it lives.
        Child.is_alive = property(lambda _: True)  # type: ignore[assignment]
        run(tell)
        code = 0
    except BaseException:
        tell(complaint=traceback.format_exc()[-1500:])
    finally:
        sys.stderr.flush()
        os._exit(code)


def _ending(status: int, diary: IO[bytes]) -> dict[str, Any]:
    with diary:
        diary.seek(0)
        facts: dict[str, Any] = {}
        for line in diary:
            facts |= json.loads(line)
    return {"how": "killed" if os.WIFSIGNALED(status) else "finished"} | facts


def _perform(app: flask.Flask, sale: dict[str, Any], tell: _Tell) -> None:
    """Stripe's event arrives, the bell is heard, the worker works."""
    answer = app.test_client().post("/webhooks/stripe", data=sale["body"].encode(), headers=sale["headers"])
    tell(answer=answer.status_code)
    _answer_the_bell(app)
    with app.app_context(), database.connected():
        work.run_due("first", order_id=sale["order_id"])


def _recover(app: flask.Flask, sale: dict[str, Any], by: str, tell: _Tell, *, rounds: int = _ROUNDS) -> None:
    if by == "webhook":
        answer = app.test_client().post("/webhooks/stripe", data=sale["body"].encode(), headers=sale["headers"])
        tell(answer=answer.status_code)
    _answer_the_bell(app)
    with app.app_context(), database.connected():
        for _ in range(rounds):
            recovery.let_time_pass(sale["order_id"])
            work.sweep("second")
            if not recovery.is_anything_open(sale["order_id"]):
                break


def _answer_the_bell(app: flask.Flask) -> None:
    queue = app.extensions["huey"]
    while (task := queue.dequeue()) is not None:
        queue.execute(task)


def main() -> None:
    """Answer wishes until the test is gone."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sockets.forbid_in_transactions()
    performance = Performance()
    for line in sys.stdin:
        wish = json.loads(line)
        answer = getattr(performance, wish.pop("do"))(**wish)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
