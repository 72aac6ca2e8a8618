"""Every client sends every key: as many bookings as keys, and for each key one answer, byte for byte.

`STORM_KEYS=1000` is the long run.
"""

import os
import random
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor

import flask
import pytest

import config
from domain import api_keys, audit, idempotency, redemptions
from models import Entry, IdempotencyRecord, Merchant
from tests import cast as casting
from tests import webserver

KEYS, CLIENTS = int(os.environ.get("STORM_KEYS", "200")), 20


@pytest.mark.req("F45", "F48", "T3")
@pytest.mark.timeout(60 + KEYS)
def test_each_of_many_keys_from_twenty_clients_books_once_and_answers_all_alike(
    app: flask.Flask, merchant: Merchant, settings: config.Settings
) -> None:
    _, text = api_keys.create(merchant, name="Till", scopes=["pos:redeem"], is_test=True)
    vouchers = [casting.issue(merchant, value_minor=KEYS * 3) for _ in range(4)]
    # Every eighth key asks in a foreign currency: a refusal is worth one answer, too.
    heard: dict[int, set[tuple[int, bytes]]] = defaultdict(set)
    counts: Counter[str] = Counter()

    def send_all(number: int) -> None:
        line = webserver.Line(server.port, text)
        chance = random.Random(number)
        for start in range(0, KEYS, CLIENTS):  # within a block each client has an order of its own
            for key in chance.sample(range(start, min(start + CLIENTS, KEYS)), min(CLIENTS, KEYS - start)):
                answer = _answer(line, vouchers[key % 4][1], key)
                heard[key].add((answer.status, answer.body))
                counts[answer.headers.get("idempotent-replayed", "first")] += 1
        line.close()

    with webserver.running(settings) as server, ThreadPoolExecutor(CLIENTS) as pool:
        began = time.monotonic()
        for sent in [pool.submit(send_all, number) for number in range(CLIENTS)]:
            sent.result()
        seconds = time.monotonic() - began
    print(f"{KEYS} keys x {CLIENTS} clients: {KEYS * CLIENTS / seconds:.0f} answers/s in {seconds:.1f} s, {counts}")
    assert [key for key, answers in heard.items() if len(answers) != 1] == []
    assert len(heard) == IdempotencyRecord.select().count() == KEYS
    assert counts == {"first": KEYS, "true": KEYS * (CLIENTS - 1)}
    booked = [entry.operation_key for entry in Entry.select().where(Entry.kind == "redeem")]
    assert sorted(booked) == sorted(_operation(key) for key in range(KEYS) if key % 8)
    assert {status for answers in heard.values() for status, _ in answers} == {201, 422}
    assert audit.is_clean(findings := audit.run()), findings


def _operation(key: int) -> str:
    return redemptions.operation_key(idempotency.scoped(f"storm-{key}", is_test=True))


def _answer(line: webserver.Line, code: str, key: int) -> webserver.Answer:
    """What a client hears in the end: one that is told to wait asks again."""
    while True:
        answer = line.redeem(code, 3, key=f"storm-{key}", currency="EUR" if key % 8 else "CHF")
        if answer.status not in (409, 503):
            return answer
        time.sleep(0.05)
