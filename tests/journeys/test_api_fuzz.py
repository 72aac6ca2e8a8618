"""The API under random calls: everything that OpenAPI allows and much that it does not, in every phase of Schemathesis.

`FUZZ_CASES=20000` makes the night's run of it, on both engines. The seed is fixed; `FUZZ_SEED` takes another one.
"""

import collections
import contextvars
import os
import random
import secrets
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import flask
import pytest
import schemathesis
from hypothesis import strategies
from schemathesis import hooks
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.generation import GenerationMode
from schemathesis.transport.wsgi import WSGI_TRANSPORT

import database
from blueprints import limits
from domain import api_keys, audit
from domain.api_keys import Scope
from models import Entry, Merchant
from tests import cast as casting

CASES = int(os.environ.get("FUZZ_CASES", "2500"))
IS_NIGHT = "FUZZ_CASES" in os.environ
SEED = int(os.environ.get("FUZZ_SEED", "20261122"))
# What is good by its schema and still refused for one field, because only the database can judge it.
ONLY_THE_DATABASE_KNOWS = {"not_a_cursor", "not_a_redemption", "not_after_start", "reserved"}

# The years that the documentation names; the format alone begins at year 0.
schemathesis.openapi.format(
    "date-time",
    strategies.datetimes(datetime(1971, 1, 1), datetime(2198, 12, 31)).map(lambda at: at.isoformat() + "Z"),
)
OF_SOCKETS = ("max_redirects", "verify", "cert", "proxies")


@pytest.fixture
def unlimited(app: flask.Flask) -> Iterator[None]:
    """Whoever fuzzes guesses all the time; a 429 would hide what stands behind it."""
    limits.limiter.enabled = False
    yield
    limits.limiter.enabled = True


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of missing keys calls the app with settings of a socket, which the client of WSGI apps cannot read."""
    send = WSGI_TRANSPORT.send

    def send_without(case: Any, **options: Any) -> Any:
        return send(case, **{name: value for name, value in options.items() if name not in OF_SOCKETS})

    monkeypatch.setattr(WSGI_TRANSPORT, "send", send_without)


@pytest.mark.req("T4", "T5", "T30", "T31", "T42")
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"] if IS_NIGHT else ["sqlite"], indirect=True)
def test_no_call_breaks_the_contract_whatever_is_sent(
    app: flask.Flask, merchant: Merchant, unlimited: None, no_sockets: None
) -> None:
    _, secret = api_keys.create(merchant, name="Fuzz", scopes=list(Scope), is_test=True)
    run = Run(app, merchant, secret)
    while run.cases < CASES and not run.faults:
        run.execute(examples=min(150, max(10, CASES // 55)))
    assert run.faults == {}, "\n\n".join(f"{count} × {what}" for what, count in run.faults.most_common(40))
    # The run is worth something only when it gets behind the doors: every success and most refusals are seen.
    assert run.statuses[200] and run.statuses[201] and run.statuses[404] and run.statuses[409] and run.statuses[422]
    assert not run.statuses[429] and not [status for status in run.statuses if status >= 500]
    with app.app_context(), database.connected():
        assert audit.is_clean(audit.run())
        print(f"\n{run.cases} cases, {dict(sorted(run.statuses.items()))}, {Entry.select().count()} entries")


class Run:
    """One run of Schemathesis; `faults` counts what it found."""

    def __init__(self, app: flask.Flask, merchant: Merchant, secret: str) -> None:
        self.merchant, self.chance = merchant, random.Random(SEED)
        self.faults: collections.Counter[str] = collections.Counter()
        self.statuses: collections.Counter[int] = collections.Counter()
        self.rounds = 0
        self.codes = [casting.issue(merchant, value_minor=10**9)[1] for _ in range(6)]
        self.headers = {"Authorization": f"Bearer {secret}"}
        self.app = app

    @property
    def cases(self) -> int:
        return self.statuses.total()

    def execute(self, *, examples: int) -> None:
        """Every phase: the document's own examples, the edges of each schema, random calls, chains of calls."""
        self.rounds += 1
        settings = SchemathesisConfig.from_dict(_settings(examples, self.headers, seed=SEED + self.rounds))
        schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", _Apart(self.app), config=settings)
        schemathesis.hook("before_call")(lambda context, case, kwargs: self._prepare(case))
        schemathesis.hook("after_call")(lambda context, case, response: self._count(case, response))
        try:
            for event in from_schema(schema).execute():
                self._read(event)
        finally:
            hooks.unregister_all()

    def _prepare(self, case: Any) -> None:
        if _mode(case) == GenerationMode.POSITIVE and isinstance(case.body, dict):
            # 3000.0 is an integer to JSON Schema; to a till's programmer it is a fraction that got lucky.
            case.body.update({name: int(value) for name, value in case.body.items() if isinstance(value, float)})
        self._give_real_things(case)

    def _give_real_things(self, case: Any) -> None:
        """A random code is unknown and a random id too: what is meant to be good gets real ones, mostly."""
        if _mode(case) != GenerationMode.POSITIVE or self.chance.random() < 0.2:
            return
        if "Idempotency-Key" in (case.headers or {}) and self.chance.random() < 0.8:
            case.headers["Idempotency-Key"] = secrets.token_hex(8)
        if isinstance(case.body, dict) and "code" in case.body and case.path != "/vouchers":
            case.body["code"] = self.chance.choice(self.codes)
            if "currency" in case.body:
                case.body["currency"] = "EUR"

    def _count(self, case: Any, response: Any) -> None:
        self.statuses[response.status_code] += 1
        if _mode(case) != GenerationMode.POSITIVE or response.status_code not in (400, 422):
            return
        problem = response.json()
        reasons = {error["code"] for error in problem["errors"]} - ONLY_THE_DATABASE_KNOWS
        if case.path.endswith("/adjust"):
            reasons.discard("too_large")  # the sum, not the amount
        if problem["code"] == "malformed_request" or reasons:
            sent = {"body": case.body, "query": case.query, "headers": case.headers}
            self.faults[f"good data refused: {case.operation.label} {problem['errors']} {sent!r}"[:900]] += 1

    def _read(self, event: Any) -> None:
        if isinstance(event, events.ScenarioFinished):
            checked = [node for nodes in event.recorder.checks.values() for node in nodes if node.failure_info]
            for node in checked:
                failure = node.failure_info.failure
                self.faults[f"{node.name}: {event.label} {failure.title} {failure.message}"[:900]] += 1
        elif isinstance(event, events.NonFatalError | events.FatalError):
            self.faults[f"error: {getattr(event, 'value', None) or event.exception!r}"] += 1


class _Apart:
    """The app for a caller of its own: the test's context, with its `g`, must not leak into a request."""

    def __init__(self, app: flask.Flask) -> None:
        self._app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return contextvars.Context().run(self._app.wsgi_app, environ, start_response)


def _mode(case: Any) -> GenerationMode | None:
    return case.meta.generation.mode if case.meta is not None else None


def _settings(examples: int, headers: dict[str, str], *, seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "headers": headers,
        "continue-on-failure": True,
        "generation": {
            "mode": "all", "max-examples": examples, "allow-x00": False, "no-shrink": True, "database": "none",
        },
        "suppress-health-check": ["all"],
        "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "404", "409", "422"]}},
        "phases": {"stateful": {"enabled": True, "max-steps": 8}},
    }  # fmt: skip
