"""Every verb of the ledger in any order against a small model of it: the same refusals, and the same money after."""

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import database
from domain import audit, clock, holds, ledger, money, redemptions, refusals
from models import Entry, Hold, Merchant, Voucher
from tests import bookings

RUNS = int(os.environ.get("LEDGER_RUNS", "120"))
# The audit walks the whole database after each run, so a database sees only so many.
RUNS_OF_A_DATABASE = 30
DAY = 24 * 60 * 60


class No(Exception):
    """The model refuses, by the code that the ledger has to give."""


@dataclass
class Aside:
    amount: int
    born: int
    ends: int
    state: str = "active"

    def shown(self, now: int) -> str:
        return "expired" if self.state == "active" and now >= self.ends else self.state


@dataclass
class Spent:
    amount: int
    back: int = 0
    is_reversed: bool = False


@dataclass
class Card:
    """A voucher as a few plain numbers; `now` is in seconds."""

    balance: int
    status: str
    ends: float
    asides: list[Aside] = field(default_factory=list)
    spent: list[Spent] = field(default_factory=list)

    def shown(self, now: int) -> str:
        if self.status != "active":
            return self.status
        return "expired" if now > self.ends else "active" if self.balance else "depleted"

    def available(self, now: int) -> int:
        return self.balance - sum(each.amount for each in self.asides if each.shown(now) == "active")

    def payable(self, amount: int, currency: str, is_exact: bool, now: int) -> int:
        if self.status != "active":
            raise No("voucher_inactive")
        if now > self.ends:
            raise No("voucher_expired")
        if not self.available(now):
            raise No("voucher_depleted")
        if currency != "EUR":
            raise No("currency_mismatch")
        if is_exact and amount > self.available(now):
            raise No("insufficient_balance")
        return min(amount, self.available(now))

    def book(self, amount: int) -> int:
        if self.balance + amount > money.MAX_MINOR:
            raise No("validation_failed")
        self.balance += amount
        return amount

    def redeem(self, amount: int, currency: str, is_exact: bool, now: int) -> int:
        taken = self.payable(amount, currency, is_exact, now)
        self.spent.append(Spent(taken))
        return self.book(-taken)

    def hold(self, amount: int, currency: str, is_exact: bool, life: int, now: int) -> int:
        taken = self.payable(amount, currency, is_exact, now)
        self.asides.append(Aside(taken, now, now + min(life, DAY)))
        return taken

    def require_standing(self, aside: Aside, now: int) -> None:
        if self.status != "active":
            raise No("voucher_inactive")
        if aside.shown(now) != "active":
            raise No("hold_expired" if aside.shown(now) == "expired" else "hold_closed")

    def capture(self, aside: Aside, amount: int | None, now: int) -> int:
        self.require_standing(aside, now)
        if amount is not None and amount > aside.amount:
            raise No("insufficient_balance")
        aside.state, taken = "captured", aside.amount if amount is None else amount
        self.spent.append(Spent(taken))
        return self.book(-taken)

    def extend(self, aside: Aside, life: int, now: int) -> None:
        self.require_standing(aside, now)
        if max(aside.ends, now + life) > aside.born + DAY:
            raise No("validation_failed")
        aside.ends = max(aside.ends, now + life)

    def release(self, aside: Aside, now: int) -> None:
        if aside.state == "captured":
            raise No("hold_closed")
        if aside.shown(now) == "active":
            aside.state = "released"

    def give_back(self, spent: Spent, amount: int | None) -> int:
        """`amount` None reverses."""
        left = spent.amount - spent.back
        if spent.is_reversed:
            raise No("already_reversed")
        if amount is None and not left or amount is not None and amount > left:
            raise No("refund_exceeds_redemption")
        spent.back += self.book(left if amount is None else amount)
        spent.is_reversed = amount is None
        return left if amount is None else amount

    def adjust(self, amount: int, now: int) -> int:
        if self.status == "cancelled":
            raise No("voucher_inactive")
        if -amount > self.available(now):
            raise No("insufficient_balance")
        return self.book(amount)

    def move(self, status: str, now: int) -> None:
        moves = {"pending": "active cancelled", "active": "suspended cancelled", "suspended": "active cancelled"}
        if status != self.status and status not in moves.get(self.status, "").split():
            raise No("transition_not_allowed")
        self.status = status
        for aside in self.asides:
            if status == "cancelled" and aside.shown(now) == "active":
                aside.state = "released"


@dataclass
class Call:
    """What a program sent under a key and has to hear again; `heard` is None when it was reversed before it came."""

    route: str
    book: Callable[[str], Entry]
    heard: int | str | None = None
    spent: Spent | None = None


ANY = strategies.integers(0, 9)
# Small beside the values, so that a voucher lives for a while; now and then the whole of it or more.
VALUES = strategies.integers(1, 300)
AMOUNTS = strategies.one_of(strategies.integers(1, 40), strategies.sampled_from([1, 10, 100, 10**6]))
CORRECTIONS = strategies.one_of(
    strategies.integers(-60, -1), strategies.integers(1, 60), strategies.sampled_from([-(10**6), money.MAX_MINOR - 40])
)
LIVES = strategies.sampled_from([900, 60, 1, DAY, DAY + 1])
CURRENCIES = strategies.sampled_from(["EUR"] * 9 + ["CHF"])
BOOLEANS = strategies.booleans()


class Books(RuleBasedStateMachine):
    """The ledger and the model side by side: each rule does the same to both and compares what they say."""

    def __init__(self) -> None:
        super().__init__()
        clock.reset()
        self.now = 0
        self.merchant = Merchant.create(slug=f"shop-{secrets.token_hex(6)}", name="Shop")
        self.cards: list[tuple[Card, Voucher]] = []
        self.asides: list[tuple[Card, Aside, Hold]] = []
        self.spent: list[tuple[Card, Spent, Entry]] = []
        self.calls: dict[str, Call] = {}

    @initialize(value=VALUES)
    def open_shop(self, value: int) -> None:
        self.issue(value, "active", None)

    @precondition(lambda self: len(self.cards) < 3)
    @rule(
        value=VALUES,
        status=strategies.sampled_from(["active", "pending"]),
        life=strategies.sampled_from([None, 1, 900, DAY]),
    )
    def issue(self, value: int, status: str, life: int | None) -> None:
        ends = self.now + life if life is not None else float("inf")
        expires_at = clock.now() + timedelta(seconds=life) if life is not None else None
        self.cards.append(
            (Card(value, status, ends), bookings.issue(self.merchant, value, status=status, expires_at=expires_at))
        )

    @rule(seconds=strategies.sampled_from([0, 1, 60, 300, 900, DAY]), is_swept=BOOLEANS)
    def wait(self, seconds: int, is_swept: bool) -> None:
        self.now += seconds
        clock.move(timedelta(seconds=seconds))
        if is_swept:
            holds.sweep(at=clock.now())

    @precondition(lambda self: self.ends())
    @rule(which=ANY, late=strategies.sampled_from([0, 0, -1, 1]))
    def wait_for_an_end(self, which: int, late: int) -> None:
        ends = self.ends()
        self.wait(max(0, ends[which % len(ends)] + late - self.now), is_swept=False)

    @rule(which=ANY, amount=AMOUNTS, currency=CURRENCIES, is_exact=BOOLEANS)
    def redeem(self, which: int, amount: int, currency: str, is_exact: bool) -> None:
        card, row = self.cards[which % len(self.cards)]
        self.call(
            Call(bookings.REDEEM, lambda key: self.redeemed(row, key, amount, currency, is_exact)),
            card,
            lambda: card.redeem(amount, currency, is_exact, self.now),
        )

    @rule(which=ANY, amount=AMOUNTS, currency=CURRENCIES, is_exact=BOOLEANS, life=LIVES)
    def hold(self, which: int, amount: int, currency: str, is_exact: bool, life: int) -> None:
        card, row = self.cards[which % len(self.cards)]
        options: dict[str, Any] = {"currency": currency, "is_exact": is_exact, "life": timedelta(seconds=life)}
        said = said_by(lambda: card.hold(amount, currency, is_exact, life, self.now))
        placed: list[Hold] = []
        refused = said_by(lambda: placed.append(bookings.hold(row, amount, **options)))
        assert (placed[0].amount_minor if placed else refused) == said
        if placed:
            self.asides.append((card, card.asides[-1], placed[0]))

    @precondition(lambda self: self.asides)
    @rule(which=ANY, amount=strategies.one_of(strategies.none(), AMOUNTS))
    def capture(self, which: int, amount: int | None) -> None:
        card, aside, row = self.asides[-1 - which % len(self.asides)]
        self.call(
            Call(
                "POST /api/v1/holds/<hold_id>/capture",
                lambda key: holds.capture(row, amount_minor=amount, operation_key=key, actor="till").entry,
            ),
            card,
            lambda: card.capture(aside, amount, self.now),
        )

    @precondition(lambda self: self.asides)
    @rule(which=ANY, life=LIVES)
    def extend(self, which: int, life: int) -> None:
        card, aside, row = self.asides[-1 - which % len(self.asides)]
        said = said_by(lambda: card.extend(aside, life, self.now))
        assert said_by(lambda: nothing(bookings.extend(row, timedelta(seconds=life)))) == said

    @precondition(lambda self: self.asides)
    @rule(which=ANY)
    def release(self, which: int) -> None:
        card, aside, row = self.asides[-1 - which % len(self.asides)]
        said = said_by(lambda: card.release(aside, self.now))
        assert said_by(lambda: nothing(bookings.release(row))) == said

    @precondition(lambda self: self.spent)
    @rule(which=ANY, amount=AMOUNTS, is_all=BOOLEANS)
    def refund(self, which: int, amount: int, is_all: bool) -> None:
        card, spent, row = self.spent[-1 - which % len(self.spent)]
        wanted = max(1, spent.amount - spent.back) if is_all else amount
        said = said_by(lambda: card.give_back(spent, wanted))
        assert said_by(lambda: bookings.refund(row, wanted).entry.amount_minor) == said

    @precondition(lambda self: self.spent)
    @rule(which=ANY)
    def reverse(self, which: int) -> None:
        card, spent, row = self.spent[-1 - which % len(self.spent)]
        said = said_by(lambda: card.give_back(spent, None))
        assert said_by(lambda: bookings.reverse(row).entry.amount_minor) == said

    @rule(which=ANY, amount=CORRECTIONS)
    def adjust(self, which: int, amount: int) -> None:
        card, row = self.cards[which % len(self.cards)]
        said = said_by(lambda: card.adjust(amount, self.now))
        assert said_by(lambda: bookings.adjust(row, amount).entry.amount_minor) == said

    @rule(which=ANY, status=strategies.sampled_from(["active"] * 6 + ["suspended"] * 3 + ["cancelled", "pending"]))
    def move(self, which: int, status: str) -> None:
        card, row = self.cards[which % len(self.cards)]
        said = said_by(lambda: card.move(status, self.now))
        assert said_by(lambda: nothing(bookings.set_status(row, status))) == said

    @precondition(lambda self: self.calls)
    @rule(which=ANY, is_other=BOOLEANS)
    def send_again(self, which: int, is_other: bool) -> None:
        key = list(self.calls)[-1 - which % len(self.calls)]
        call = self.calls[key]
        heard = "already_reversed" if call.heard is None else "idempotency_conflict" if is_other else call.heard
        assert self.send(key, call, body="other" if is_other else "body") == heard

    @rule(which=ANY, amount=AMOUNTS)
    def reverse_unseen(self, which: int, amount: int) -> None:
        row, key = self.cards[which % len(self.cards)][1], secrets.token_hex(8)
        assert self.reversed_by(key) == "blocked"
        self.calls[key] = Call(bookings.REDEEM, lambda key: self.redeemed(row, key, amount, "EUR", False))

    @precondition(lambda self: self.calls)
    @rule(which=ANY)
    def reverse_by_key(self, which: int) -> None:
        key = list(self.calls)[-1 - which % len(self.calls)]
        call = self.calls[key]
        if call.spent is None:
            assert self.reversed_by(key) == ("blocked" if call.heard is None else "refused")
        elif call.spent.is_reversed:
            assert self.reversed_by(key) == "reversed"
        else:
            card, spent = next(card for card, spent, _ in self.spent if spent is call.spent), call.spent
            said = said_by(lambda: card.give_back(spent, None))
            assert self.reversed_by(key) == (said if isinstance(said, str) else "reversed")

    def ends(self) -> list[int]:
        standing = [aside.ends for _, aside, _ in self.asides if aside.shown(self.now) == "active"]
        return standing + [int(card.ends) for card, _ in self.cards if self.now <= card.ends < float("inf")]

    @invariant()
    def agree(self) -> None:
        now = clock.now()
        rows = {row.id: row for row in Voucher.select().where(Voucher.merchant == self.merchant)}
        for card, row in self.cards:
            found = rows[row.id]
            assert (found.balance_minor, found.status) == (card.balance, card.status)
            assert found.shown_status(now) == card.shown(self.now)
        states = {row.id: row.shown_state(now) for row in Hold.select().where(Hold.merchant == self.merchant)}
        for _, aside, hold in self.asides:
            assert states[hold.id] == aside.shown(self.now)

    def teardown(self) -> None:
        for card, row in self.cards:
            assert holds.as_of_now(bookings.fresh(row)).available_minor == card.available(self.now)
            balance = 0
            for entry in reversed(list(row.entries)):
                balance += entry.amount_minor
                later = Entry.select().where(
                    Entry.voucher == row, Entry.seq > entry.seq, Entry.created_at == entry.created_at
                )
                assert later.exists() or ledger.balance_at(row, entry.created_at) == balance
        owed = ledger.liability_at(self.merchant, clock.now(), is_test=True).get("EUR", 0)
        assert owed == sum(card.balance for card, _ in self.cards)
        assert [finding for finding in audit.run() if finding.broken] == []

    def call(self, call: Call, card: Card, model: Callable[[], object]) -> None:
        key = secrets.token_hex(8)
        call.heard = said_by(model)
        assert self.send(key, call) == call.heard
        self.calls[key] = call
        if not isinstance(call.heard, str):
            call.spent = card.spent[-1]
            entry = Entry.get(Entry.operation_key == redemptions.operation_key(key))
            self.spent.append((card, call.spent, entry))

    def send(self, key: str, call: Call, *, body: str = "body") -> object:
        def send() -> object:
            name = redemptions.operation_key(key)
            answer = bookings.call(self.merchant, key, lambda: call.book(name), route=call.route, body=body)
            facts = json.loads(answer.body)
            return facts["code"] if answer.status >= 400 else facts["transaction"]["amount_minor"]

        return said_by(send)

    def reversed_by(self, key: str) -> object:
        return said_by(lambda: str(redemptions.reverse(self.merchant, key=key, is_test=True, actor="till").outcome))

    def redeemed(self, row: Voucher, key: str, amount: int, currency: str, is_exact: bool) -> Entry:
        return ledger.redeem(
            row.id, amount_minor=amount, currency=currency, is_exact=is_exact, operation_key=key, actor="till"
        ).entry


def said_by(deed: Callable[[], Any]) -> Any:
    """What a deed gives back, or the code it is refused with."""
    try:
        return deed()
    except No as no:
        return str(no)
    except refusals.Refusal as refusal:
        return refusal.code


def nothing(_: object) -> None:
    """For a deed of which only the refusal counts."""


@pytest.mark.req("S2-05", "F49")
@pytest.mark.timeout(max(600, RUNS * 3))
def test_the_ledger_does_what_the_model_does(
    engine: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = request.getfixturevalue("sqlite_files" if engine == "sqlite" else "postgres_server")
    bookings.stop_the_clock(monkeypatch)
    settings = hypothesis.settings(
        max_examples=min(RUNS, RUNS_OF_A_DATABASE),
        stateful_step_count=40,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    for number in range(-(-RUNS // RUNS_OF_A_DATABASE)):
        with source.fresh() as url:
            database.connect(url)
            with database.connected():
                run_state_machine_as_test(hypothesis.seed(number)(Books), settings=settings)
            database.db.obj.close_all()
