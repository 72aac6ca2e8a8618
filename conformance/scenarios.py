"""What a till's program has to get right: six situations, and what its calls say about it in each of them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from conformance.recorder import PASS, Act, Heard

_TAKES = re.compile(r"/vouchers/(redeem|[^/]+/redeem)|/holds/[^/]+/capture")
_RELEASES = re.compile(r"/holds/[^/]+/release")
_LOOKALIKES = str.maketrans("OIL", "011")
# A clock's grain, and the way back: nobody is blamed for it.
_GRACE_SECONDS = 0.05
BUSY = (Act(status=429, retry_after=2), Act(status=503, retry_after=1))


class State(StrEnum):
    """A scenario that waits for the till's next call fails when none comes."""

    WAITING = "waiting"
    PASS = "pass"  # noqa: S105
    FAIL = "fail"


@dataclass(frozen=True)
class Verdict:
    """What the calls so far say, and the calls that prove it."""

    state: State
    reason: str
    proof: tuple[Heard, ...] = ()


@dataclass
class Scenario:
    """One situation at the till: what the cashier does, with which test codes, and how the till is judged."""

    name: str
    promise: str
    task: str
    codes: tuple[str, ...]
    judge: Callable[["Scenario"], Verdict]
    act: Callable[["Scenario", Heard], Act] = lambda scenario, heard: PASS
    heard: list[Heard] = field(default_factory=list)
    # A name (code, Idempotency-Key, id of a voucher or hold) → the place in `codes` of the voucher it belongs to.
    names: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names |= {_plain(code): place for place, code in enumerate(self.codes)}

    def owns(self, heard: Heard) -> bool:
        """True for a call that names something of this scenario."""
        return self.place_of(heard) is not None

    def place_of(self, heard: Heard) -> int | None:
        """Which of the scenario's vouchers a call is about."""
        body = heard.body if isinstance(heard.body, dict) else {}
        asked = (body.get("idempotency_key"), heard.query.get("idempotency_key"), *heard.path.split("/"))
        named = (_plain(str(body.get("code", ""))), *(str(each) for each in asked if each))
        return next((self.names[name] for name in named if name in self.names), None)

    def learn(self, heard: Heard) -> None:
        """Remember the names that a call and its answer brought."""
        place = self.place_of(heard)
        answer = "id" if heard.path == "/vouchers/lookup" else "voucher.id"
        for name in (heard.key, heard.at("hold.id"), heard.at(answer)):
            if isinstance(name, str) and name and place is not None:
                self.names.setdefault(name, place)

    @property
    def taking(self) -> list[Heard]:
        """The calls that take money, in the order in which they came."""
        return [each for each in self.heard if each.method == "POST" and _TAKES.fullmatch(each.path)]

    @property
    def booked(self) -> list[Heard]:
        """The calls that booked something, each booking once."""
        first: dict[object, Heard] = {}
        for each in self.taking:
            if each.status == 201:
                first.setdefault(each.at("transaction.id"), each)
        return list(first.values())

    def taken_minor(self, place: int) -> int:
        """What was taken from one of the vouchers."""
        amounts = [each.at("transaction.amount_minor") for each in self.booked if self.place_of(each) == place]
        return -sum(amount for amount in amounts if isinstance(amount, int))

    def reversal_of(self, key: str) -> Heard | None:
        """The call that took back what was called with `key`."""
        return next((each for each in self.heard if _reverses(each) == key and each.status == 200), None)


def all_of(ending: str) -> list[Scenario]:
    """Every scenario, with test codes of this ending."""

    def code(kind: str, value_minor: int, letter: str) -> str:
        return f"TEST-{kind}-{value_minor}-{ending}{letter}"

    a, b, c, d, e, f, g = (
        code("VALID", 5000, "a"), code("VALID", 2000, "b"), code("VALID", 5000, "c"), code("VALID", 5000, "d"),
        code("VALID", 5000, "e"), code("EXPIRED", 3000, "f"), code("VALID", 5000, "g"),
    )  # fmt: skip
    return [
        Scenario("pay", "a bill is redeemed once", f"A bill of 12.00: pay it with {a}.", (a,), _pay),
        Scenario(
            "remaining-amount", "what the voucher does not cover is what is paid otherwise",
            f"A bill of 35.00: pay with {b} as much as it has, and exactly the rest with {c}.", (b, c), _remaining,
        ),
        Scenario(
            "lost-answer", "a lost answer is asked for again with the same key and body",
            f"A bill of 8.00: pay it with {d}. The first answer gets lost.", (d,), _lost, _lose_first,
        ),
        Scenario(
            "cancelled-bill", "a cancelled bill is reversed by its key, or its hold is released",
            f"A bill of 10.00: pay it with {e}, then cancel the bill.", (e,), _cancelled,
        ),
        Scenario(
            "refused", "a refusal is no reason to try again under a new key",
            f"A bill of 10.00: pay it with {f}, which has expired. Press once.", (f,), _refused,
        ),
        Scenario(
            "retry-after", "429 and 503 are repeated, and not before Retry-After is over",
            f"A bill of 9.00: pay it with {g}. The server is busy at first.", (g,), _busy, _refuse_first,
        ),
    ]  # fmt: skip


def _pay(scenario: Scenario) -> Verdict:
    booked = scenario.booked
    if len(booked) > 1:
        return _fail("the bill was booked twice", *booked[:2])
    if not booked:
        return _nothing_booked(scenario)
    if scenario.taken_minor(0) != 1200:
        return _fail(f"took {scenario.taken_minor(0)} minor units instead of 1200", *booked)
    return _pass("took 1200 minor units, once")


def _remaining(scenario: Scenario) -> Verdict:
    first, second = scenario.taken_minor(0), scenario.taken_minor(1)
    if second > 1500:
        text = f"took {second} from the second voucher, though remaining_order_amount_minor was 1500"
        return _fail(text, *_last_of_each(scenario))
    if first < 2000:
        return _nothing_booked(scenario) if not first else _wait(f"took {first} of the 2000 that were there")
    if second < 1500:
        return _wait(f"took {second} of the 1500 that were still to pay", *scenario.booked[-2:])
    return _pass("took 2000, and the remaining 1500 from the second voucher")


def _lost(scenario: Scenario) -> Verdict:
    lost = next((each for each in scenario.taking if each.act.is_lost), None)
    if lost is None:
        return _wait("no redemption came")
    later = [each for each in scenario.heard if each.number > lost.number]
    taken_back = scenario.reversal_of(lost.key)
    # Whoever took the first call back may ring the bill up anew.
    again = [each for each in later if each in scenario.taking and not (taken_back and taken_back.number < each.number)]
    other_key = next((each for each in again if each.key != lost.key), None)
    if other_key is not None:
        return _fail("repeated under another Idempotency-Key: the guest pays twice", lost, other_key)
    other_body = next((each for each in again if (each.path, each.body) != (lost.path, lost.body)), None)
    if other_body is not None:
        return _fail("repeated the key with another body", lost, other_body)
    if again:
        return _pass("repeated with the same key and body")
    if taken_back is not None:
        return _pass("took the call back by its key")
    if any(each.query.get("idempotency_key") == lost.key for each in later):
        return _pass("asked what became of the call")
    return _wait("nothing came after the lost answer", lost)


def _cancelled(scenario: Scenario) -> Verdict:
    keys = {each.key for each in scenario.taking}
    strange = next((each for each in scenario.heard if _reverses(each) and _reverses(each) not in keys), None)
    if strange is not None:
        return _fail("reversed a key that it never redeemed with", *scenario.booked[:1], strange)
    kept = [each for each in scenario.booked if scenario.reversal_of(each.key) is None]
    if kept:
        return _wait("the bill is cancelled and its money is still taken: no reversal of its key came", *kept)
    if scenario.booked:
        return _pass("reversed the redemption by its key")
    held = [each for each in scenario.heard if each.path == "/vouchers/hold" and each.status == 201]
    free = [each for each in scenario.heard if _RELEASES.fullmatch(each.path) and each.status == 200]
    if held and free:
        return _pass("released the hold")
    return _wait("the bill is cancelled and its hold still stands", *held) if held else _nothing_booked(scenario)


def _refused(scenario: Scenario) -> Verdict:
    tried = [each for each in scenario.heard if each in scenario.taking or each.path == "/vouchers/hold"]
    refused = next((each for each in tried if 400 <= each.status < 500), None)
    again = next((each for each in tried if refused and each.number > refused.number and each.key != refused.key), None)
    if refused is not None and again is not None:
        return _fail(f"tried again under a new key after {refused.status} {refused.at('code')}", refused, again)
    if refused is not None:
        return _pass(f"took {refused.status} {refused.at('code')} for an answer")
    if any(each.at("valid") is False for each in scenario.heard):
        return _pass("validated first, and did not redeem")
    return _wait("nobody asked for the voucher")


def _busy(scenario: Scenario) -> Verdict:
    taking = scenario.taking
    for before, after in pairwise(taking):
        wait = before.act.retry_after
        if not wait or before.answered is None:
            continue
        if after.key != before.key:
            return _fail(f"came again under another key after {before.status}", before, after)
        if (after.path, after.body) != (before.path, before.body):
            return _fail(f"came again with another body after {before.status}", before, after)
        waited = after.came - before.answered
        if waited < wait - _GRACE_SECONDS:
            return _fail(f"came again after {waited:.1f} s, though Retry-After said {wait}", before, after)
    if scenario.booked:
        return _pass("waited as long as it was told, and repeated the same call")
    if taking and scenario.reversal_of(taking[-1].key) is not None:
        return _pass("gave up and took the call back by its key")
    return _wait(f"did not come again after {taking[-1].status}", taking[-1]) if taking else _wait("no redemption came")


def _lose_first(scenario: Scenario, heard: Heard) -> Act:
    return Act(is_lost=True) if scenario.taking == [heard] else PASS


def _refuse_first(scenario: Scenario, heard: Heard) -> Act:
    count = len(scenario.taking)
    return BUSY[count - 1] if heard in scenario.taking and count <= len(BUSY) else PASS


def _nothing_booked(scenario: Scenario) -> Verdict:
    refused = [each for each in scenario.taking if each.status >= 400]
    if not refused:
        return _wait("no redemption came")
    last = refused[-1]
    return _wait(f"the redemption was refused, {last.status} {last.at('code')}, and nothing followed", last)


def _last_of_each(scenario: Scenario) -> list[Heard]:
    last = {scenario.place_of(each): each for each in scenario.booked}
    return [last[place] for place in sorted(last, key=str)]


def _reverses(heard: Heard) -> str | None:
    """The key that a call takes back, or None for another call."""
    is_one = heard.path == "/redemptions/reverse" and isinstance(heard.body, dict)
    return str(heard.body.get("idempotency_key")) if is_one else None


def _plain(code: str) -> str:
    return "".join(each for each in code.upper() if each.isalnum()).translate(_LOOKALIKES)


def _pass(reason: str) -> Verdict:
    return Verdict(State.PASS, reason)


def _fail(reason: str, *proof: Heard) -> Verdict:
    return Verdict(State.FAIL, reason, proof)


def _wait(reason: str, *proof: Heard) -> Verdict:
    return Verdict(State.WAITING, reason, proof)
