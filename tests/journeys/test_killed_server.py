"""The web server is killed under load, again and again: no booking that was acknowledged is lost, none is doubled.

`KILLS=200` is the long run.
"""

import itertools
import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import flask
import pytest

import config
from domain import api_keys, audit, idempotency, redemptions
from models import Entry, Merchant, Voucher
from tests import cast as casting
from tests import webserver

KILLS, TILLS = int(os.environ.get("KILLS", "25")), 8
PLENTY_MINOR = 10**12


@pytest.mark.req("F45", "F47", "F48")
@pytest.mark.timeout(120 + KILLS * 10)
def test_a_killed_server_loses_and_doubles_no_acknowledged_booking(
    app: flask.Flask, merchant: Merchant, settings: config.Settings
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    _, text = api_keys.create(merchant, name="Till", scopes=["pos:redeem"], is_test=True)
    codes = [casting.issue(merchant, value_minor=PLENTY_MINOR)[1] for _ in range(3)]
    acknowledged: dict[str, bytes] = {}
    counts: Counter[str] = Counter()
    is_over = threading.Event()

    def work(number: int) -> None:
        line = webserver.Line(server.port, text)
        for turn in itertools.count():
            if is_over.is_set():
                line.close()
                return
            key = f"till-{number}-{turn}"
            answer, tries = _insist(line, codes[turn % 3], key)
            acknowledged[key] = answer.body
            counts["booked"] += 1
            counts["sent again"] += tries > 1
            counts["heard at the second try"] += "idempotent-replayed" in answer.headers

    # One worker process starts in half the time of two, and dies as suddenly.
    server = webserver.Server(settings, workers=1)
    server.start()
    with ThreadPoolExecutor(TILLS) as pool:
        tills = [pool.submit(work, number) for number in range(TILLS)]
        try:
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.02, 0.4))
                server.kill()
                counts["killed"] += 1
                server.start()
        finally:
            is_over.set()
            for till in tills:
                till.result(timeout=120)
            server.stop()
    print(counts)
    _assert_books(acknowledged)
    assert counts["killed"] == KILLS
    # Else the server was killed while nobody wanted anything of it.
    assert counts["sent again"] >= KILLS


def _insist(line: webserver.Line, code: str, key: str) -> tuple[webserver.Answer, int]:
    """The same call with the same key until there is an answer; how often it was sent."""
    deadline = time.monotonic() + 90
    for tries in itertools.count(1):
        assert time.monotonic() < deadline, f"no answer to {key}"
        try:
            answer = line.redeem(code, 1, key=key)
        except OSError:
            time.sleep(0.05)
            continue
        if answer.status == 201:
            return answer, tries
        assert answer.status in (409, 503), (answer.status, answer.body)
        time.sleep(0.1)
    raise AssertionError("unreachable")


def _assert_books(acknowledged: dict[str, bytes]) -> None:
    booked = {entry.operation_key: entry for entry in Entry.select().where(Entry.kind == "redeem")}
    assert Entry.select().where(Entry.kind == "redeem").count() == len(booked)
    assert set(booked) == {_operation(key) for key in acknowledged}
    for key, body in acknowledged.items():
        assert booked[_operation(key)].public_id.encode() in body
    spent = sum(PLENTY_MINOR - voucher.balance_minor for voucher in Voucher.select())
    assert spent == len(acknowledged)
    assert audit.is_clean(findings := audit.run()), findings


def _operation(key: str) -> str:
    return redemptions.operation_key(idempotency.scoped(key, is_test=True))
