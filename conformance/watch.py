"""Grade a till: lead its programmer through the scenarios, and judge what the proxy hears."""

import contextlib
import secrets
import string
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import requests

from conformance import recorder, scenarios
from conformance.desk import BASE, PATIENCE_SECONDS, read_json
from conformance.grading import CannotRun
from conformance.recorder import PASS, Act, Heard
from conformance.scenarios import Scenario, State, Verdict

_LETTERS = string.ascii_lowercase + string.digits
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Result:
    """One scenario's result: `pass`, `fail`, or `skip` for one that was not seen; `proof` are the calls behind it."""

    name: str
    promise: str
    result: str
    reason: str
    proof: tuple[str, ...] = ()


def new_ending() -> str:
    """An ending for the test codes that nobody has used."""
    return "".join(secrets.choice(_LETTERS) for _ in range(8))


def watch(
    url: str,
    *,
    port: int,
    ending: str,
    patience: float,
    settle: float,
    tell: Callable[[str], None],
    keep: Callable[[Result], None],
) -> None:
    """Listen until every scenario is judged; `tell` gets the sentences for the programmer, `keep` each result.

    `patience` is how many seconds the till may take for its next call, `settle` how long it must be silent before it
    is believed to be done. Raises CannotRun, and KeyboardInterrupt when somebody ends it.
    """
    _require_server(url)
    lessons = scenarios.all_of(ending)
    ear = recorder.Ear(come=lambda heard: _come(lessons, heard), answered=lambda heard: _learn(lessons, heard))
    with contextlib.ExitStack() as stack:
        try:
            bound = stack.enter_context(recorder.listening(url, port=port, ear=ear))
        except OSError as error:
            raise CannotRun(f"port {port} cannot be opened ({error.strerror}); choose another with --port") from error
        tell(f"Point the till at http://127.0.0.1:{bound} with a test key; everything goes on to {url}.")
        for number, lesson in enumerate(lessons, start=1):
            tell(f"{number}/{len(lessons)} {lesson.task}")
            keep(_judged(lesson, ear, patience=patience, settle=settle))


def unseen(names: Sequence[str]) -> list[Result]:
    """The results of the scenarios that nobody got to, given the names of the others."""
    rest = [each for each in scenarios.all_of("") if each.name not in names]
    return [Result(each.name, each.promise, "skip", "not seen") for each in rest]


def _judged(lesson: Scenario, ear: recorder.Ear, *, patience: float, settle: float) -> Result:
    while True:
        with ear.lock:
            verdict, silence = lesson.judge(lesson), _silence(lesson)
        if verdict.state == State.FAIL or (verdict.state == State.WAITING and silence > patience):
            return _result(lesson, verdict, "fail")
        if verdict.state == State.PASS and silence > settle:
            return _result(lesson, verdict, "pass")
        time.sleep(_LOOK_SECONDS)


def _silence(lesson: Scenario) -> float:
    """Seconds since the till was last heard; none before its first call and while one is on its way."""
    if not lesson.heard or any(each.answered is None for each in lesson.heard):
        return 0
    return time.monotonic() - max(each.answered or 0 for each in lesson.heard)


def _result(lesson: Scenario, verdict: Verdict, result: str) -> Result:
    return Result(lesson.name, lesson.promise, result, verdict.reason, tuple(str(each) for each in verdict.proof))


def _come(lessons: Sequence[Scenario], heard: Heard) -> Act:
    lesson = next((each for each in lessons if each.owns(heard)), None)
    if lesson is None and heard.path == "/redemptions/reverse":
        # A key that nobody used: the till must have meant what it did last.
        lesson = max(lessons, key=lambda each: each.heard[-1].number if each.heard else 0)
    if lesson is None:
        return PASS
    lesson.heard.append(heard)
    lesson.learn(heard)
    return lesson.act(lesson, heard)


def _learn(lessons: Sequence[Scenario], heard: Heard) -> None:
    for lesson in lessons:
        if heard in lesson.heard:
            lesson.learn(heard)


def _require_server(url: str) -> None:
    try:
        answer = requests.post(f"{url.rstrip('/')}{BASE}/vouchers/lookup", json={}, timeout=PATIENCE_SECONDS)
    except requests.RequestException as error:
        raise CannotRun(f"nobody answers at {url} ({type(error).__name__}); is the server running?") from error
    body = read_json(answer.content)
    if not isinstance(body, dict) or body.get("code") != "invalid_api_key":
        raise CannotRun(f"{url} answers {answer.status_code}: there is no Vouchers API at this address")
