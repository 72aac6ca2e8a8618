"""Many orders against a mail server that refuses, hangs up and forgets: every mail is out, and no copy is a stranger.

`STORM_ORDERS=1000` is the long run; figures are printed.
"""

import hashlib
import os
import random
import threading
import time
from collections import Counter
from datetime import datetime, timedelta

import flask
import pytest

import database
from domain import audit, breakers, clock
from domain.states import FINISHED, MAILS, StepState
from effects import work
from models import Merchant, Step, StepAttempt, VoucherPdf
from tests import reports
from tests.journeys.test_mail_outage import configure
from tests.smtp import ScriptedServer

ORDERS = int(os.environ.get("STORM_ORDERS", "60"))
WORKERS = 3
GREYLISTED, TOO_BUSY, ANSWER_LOST = 0.15, 0.05, 0.10


class HostileServer(ScriptedServer):
    """Greylists, says 421, and takes letters without ever answering; by chance, but the same chance for a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._chance = random.Random(seed)
        self.heard: Counter[str] = Counter()

    def _next(self, stage: str) -> str | float | None:
        wants = {
            "RCPT": (GREYLISTED, "451 4.7.1 Greylisted, come back in five minutes"),
            "MAIL": (TOO_BUSY, "421 4.3.2 Too busy"),
            "AFTER_DOT": (ANSWER_LOST, "drop the line"),
        }
        share, reply = wants.get(stage, (0.0, ""))
        if self._chance.random() >= share:
            return None
        self.heard[stage] += 1
        return reply


def _work_off(app: flask.Flask) -> None:
    """Everything that is due, by several workers at once."""

    def run(name: str) -> None:
        with app.app_context(), database.connected():
            work.run_due(name)

    threads = [threading.Thread(target=run, args=(f"w{number}",)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _next_moment() -> datetime | None:
    unfinished = Step.select().where(Step.state.not_in((*FINISHED, StepState.DEAD))).order_by(Step.not_before).first()
    return unfinished.not_before if unfinished else None


@pytest.mark.req("F36", "F39", "F22", "G1")
@pytest.mark.timeout(600 + 6 * ORDERS)
def test_every_mail_of_a_storm_is_out_and_every_copy_carries_its_old_number(
    app: flask.Flask, merchant: Merchant, engine: str, chance: random.Random
) -> None:
    seed, started = chance.randrange(10**6), time.monotonic()
    with HostileServer(seed) as server:
        configure(app, server.port)
        for number in range(ORDERS):
            for_others = [f"friend{number}@example.com"] if number % 3 == 0 else []
            reports.paid(merchant, *for_others, buyer_email=f"buyer{number}@example.com")
        begun = clock.now()
        while (moment := _next_moment()) is not None:
            clock.move(max(moment - clock.now(), timedelta()))
            _work_off(app)
        lasted, letters = clock.now() - begun, list(server.messages)

    steps = list(Step.select().where(Step.name.in_(MAILS)))
    assert {step.state for step in steps} == {StepState.DONE}
    assert not breakers.is_open("mail")
    wanted = {f"<{step.message_id}@shop.example>": step for step in steps}
    copies: Counter[str] = Counter(str(letter.message["Message-ID"]).strip() for letter in letters)
    assert set(copies) == set(wanted), "every mail arrived, and nothing that no step knows"
    assert len(letters) - len(steps) == server.heard["AFTER_DOT"], "a copy only where an answer was lost"
    to = {(str(letter.message["Message-ID"]).strip(), letter.recipients) for letter in letters}
    assert len(to) == len(steps), "every copy went to the same one person"
    _check_pdfs(letters)
    assert audit.is_clean(audit.run()), audit.run()
    tries = StepAttempt.select().join(Step).where(Step.name.in_(MAILS)).count()
    told = {
        "seed": seed,
        "orders": ORDERS,
        "mails": len(steps),
        "tries": tries,
        "copies": len(letters) - len(steps),
        "most tries": max(step.attempt for step in steps),
        "shop's time": str(lasted),
        "seconds": round(time.monotonic() - started),
    }
    print(f"\n{engine}: {told | dict(server.heard)}")


def _check_pdfs(letters: list[object]) -> None:
    """Of each voucher exactly the bytes that were read back and kept, however often they were mailed."""
    kept = {row.sha256 for row in VoucherPdf.select(VoucherPdf.sha256)}
    sent = set()
    for letter in letters:
        for part in letter.message.iter_attachments():  # type: ignore[attr-defined]
            sent.add(hashlib.sha256(part.get_content()).hexdigest())
    assert sent == kept and len(kept) == ORDERS
