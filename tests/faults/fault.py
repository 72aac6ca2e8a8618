"""What goes wrong in a child, and how it is brought about there: at a line, at a statement, at a side effect."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType
from typing import Any

import flask
import peewee

import config
import database
from gateways.document import DocumentFailed, Press
from gateways.mailer import Failure, Mailer, MailFailed
from gateways.stripe_checkout import StripeCheckout, StripeUnavailable

OURS = frozenset({"app.py", "blueprints", "database.py", "domain", "effects", "gateways", "models.py", "tasks.py"})
# Every side effect between the signed event and the finished mail, and what a caller hears when it breaks.
BREAKS: dict[str, Callable[[], Exception]] = {
    "begin": lambda: peewee.OperationalError("the line to the database broke"),
    "commit": lambda: peewee.OperationalError("the line to the database broke"),
    "ask_stripe": lambda: StripeUnavailable("no answer"),
    "print": lambda: DocumentFailed("renderer_crashed", "gone"),
    "send": lambda: MailFailed(Failure.UNKNOWN, None, "the line broke"),
    "ring": lambda: ConnectionError("the queue is away"),
}


class Kind(StrEnum):
    """Where the fault waits. `at` counts executed lines, points around statements, or calls of one side effect."""

    NONE = "none"
    LINE = "line"
    STATEMENT = "statement"
    EFFECT = "effect"


class Action(StrEnum):
    """What happens there: SIGKILL, the error of a broken line, or SIGSTOP until somebody wakes the process."""

    KILL = "kill"
    RAISE = "raise"
    HANG = "hang"


@dataclass(frozen=True)
class Fault:
    """One fault. `at` counts from 1 and 0 never comes, so that the points are only counted and listed."""

    kind: Kind = Kind.NONE
    at: int = 0
    effect: str = ""
    when: str = "before"
    action: Action = Action.KILL

    def __str__(self) -> str:
        place = f"{self.when} {self.effect} " if self.effect else ""
        return f"{self.action} at {self.kind} {place}{self.at}"


class Points:
    """The points of one kind that a child passes; at the chosen one it tells where it is and meets its fault."""

    def __init__(self, fault: Fault, tell: Callable[[str], None]) -> None:
        self._fault, self._tell = fault, tell
        self._thread = threading.get_ident()
        self.passed: list[str] = []

    def arm(self, app: flask.Flask) -> None:
        """Set the trap in this process; there is no way back, so this is for forked children only."""
        if self._fault.kind == Kind.LINE:
            sys.settrace(self._enter)
        elif self._fault.kind == Kind.STATEMENT:
            self._wrap_statements()
        elif self._fault.kind == Kind.EFFECT:
            self._wrap_effects(app)

    def disarm(self) -> None:
        """No point is counted from here on."""
        sys.settrace(None)
        self._thread = 0

    def _pass(self, where: str) -> None:
        if threading.get_ident() != self._thread:
            return
        self.passed.append(where)
        if len(self.passed) == self._fault.at:
            self._meet(where)

    def _meet(self, where: str) -> None:
        self._tell(where)
        if self._fault.action == Action.RAISE:
            raise BREAKS[self._fault.effect]()
        os.kill(os.getpid(), signal.SIGKILL if self._fault.action == Action.KILL else signal.SIGSTOP)

    def _enter(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        return self._step if _is_ours(frame.f_code.co_filename) else None

    def _step(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            self._pass(f"{_short(frame.f_code.co_filename)}:{frame.f_lineno}")
        return self._step

    def _wrap_statements(self) -> None:
        opened = database.db.obj
        for name in ("begin", "execute_sql", "commit", "rollback"):
            setattr(opened, name, self._around(getattr(opened, name), name))

    def _wrap_effects(self, app: flask.Flask) -> None:
        owner, name = {
            "begin": (database.db.obj, "begin"),
            "commit": (database.db.obj, "commit"),
            "ask_stripe": (StripeCheckout, "fetch_session"),
            "print": (Press, "print"),
            "send": (Mailer, "send"),
            "ring": (app.extensions, "fulfil"),
        }[self._fault.effect]
        if isinstance(owner, dict):
            owner[name] = self._around(owner[name], self._fault.effect)
        else:
            setattr(owner, name, self._around(getattr(owner, name), self._fault.effect))

    def _around(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            text = " ".join([name, *(str(arguments[0]).split() if name == "execute_sql" else [])])[:90]
            if self._fault.kind == Kind.STATEMENT or self._fault.when == "before":
                self._pass(f"before {text}")
            result = call(*arguments, **options)
            if self._fault.kind == Kind.STATEMENT or self._fault.when == "after":
                self._pass(f"after {text}")
            return result

        return wrapped


_known: dict[str, bool] = {}
_ROOT = f"{config.ROOT}{os.sep}"


def _is_ours(file: str) -> bool:
    found = _known.get(file)
    if found is None:
        found = _known[file] = file.startswith(_ROOT) and _short(file).split(os.sep)[0] in OURS
    return found


def _short(file: str) -> str:
    return file.removeprefix(_ROOT)
