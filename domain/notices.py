"""Mails to owners about what needs them: told once, several as one letter, sent by whoever holds the lease.

The only writer of notices. `waiting → sent | failed | settled`; a copy that goes out twice carries its old Message-ID.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from database import locked, transaction
from domain import needs
from domain.needs import Need, NeedKind
from domain.states import NoticeState, Role
from models import Membership, Merchant, Notice, User

# So long a first notice waits for others, so that one trouble with many orders is one letter.
GATHER = timedelta(minutes=2)
# Longer than one mail may take.
LEASE = timedelta(minutes=5)
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=6)
GIVE_UP_AFTER = timedelta(days=7)


class LeaseLost(Exception):
    """Somebody else holds the notices by now."""


@dataclass(frozen=True)
class Bundle:
    """What one owner is told in one letter, under one Message-ID."""

    merchant: Merchant
    user: User
    notices: tuple[Notice, ...]

    @property
    def message_id(self) -> str:
        """Chosen when the bundle was tied, and the same at every try."""
        return str(self.notices[0].facts["letter"])


def plan(at: datetime) -> int:
    """One notice for each owner and need, and an end to those whose need is gone unsent; how many are new."""
    return sum(_plan_for(merchant, at) for merchant in Merchant.select().order_by(Merchant.id))


def claim(at: datetime) -> Bundle | None:
    """Take what one owner should be told now, or None: everything of theirs that waits, once the first of it is due."""
    with transaction():
        first = Notice.select(Notice.user).where(_is_due(at)).order_by(Notice.not_before, Notice.id).first()
        if first is None:
            return None
        # One claim at a time for each person, so that two workers do not halve a letter.
        user = locked(User.select().where(User.id == first.user_id)).get()
        bundle = _gathered(user, at)
        for notice in bundle:
            _take(notice, letter=bundle[0].facts.get("letter") or bundle[0].message_id, at=at)
    if not bundle:
        return None
    return Bundle(bundle[0].merchant, user, tuple(Notice.get_by_id(notice.id) for notice in bundle))


def finish(bundle: Bundle, *, at: datetime) -> None:
    """The mail server has taken the letter. Raises LeaseLost."""
    with transaction():
        for notice in bundle.notices:
            _update_held(notice, state=NoticeState.SENT, sent_at=at, lease_until=None, error=None)


def fail(bundle: Bundle, *, error: str, is_permanent: bool, at: datetime) -> None:
    """The letter did not go out: try again later, or never. Raises LeaseLost."""
    with transaction():
        for notice in bundle.notices:
            is_over = is_permanent or at - notice.created_at > GIVE_UP_AFTER
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * int(2 ** min(notice.attempt, 12)))
            state = NoticeState.FAILED if is_over else NoticeState.WAITING
            _update_held(notice, state=state, not_before=at + pause, lease_until=None, error=error[:500])


def _plan_for(merchant: Merchant, at: datetime) -> int:
    found = needs.attention(merchant, at)
    owners = list(_owners(merchant))
    with transaction():
        new = sum(_tell(merchant, owner, need, at) for need in found for owner in owners)
        _settle_vanished(merchant, {(need.kind, need.key) for need in found}, at)
    return new


def _owners(merchant: Merchant) -> Any:
    is_owner = (Membership.merchant == merchant) & (Membership.role == Role.OWNER)
    return User.select().join(Membership).where(is_owner, User.is_active).order_by(User.id)


def _tell(merchant: Merchant, owner: User, need: Need, at: datetime) -> bool:
    of_need = (Notice.user == owner) & (Notice.kind == need.kind) & (Notice.key == need.key)
    known = Notice.get_or_none(of_need)
    if known is not None:
        if known.state == NoticeState.SETTLED:  # it had gone before it was told, and is back
            Notice.update(state=NoticeState.WAITING, not_before=at + GATHER).where(Notice.id == known.id).execute()
        return False
    facts = {**need.facts, "since": need.since.isoformat()}
    new = {
        "merchant": merchant,
        "user": owner,
        "kind": need.kind,
        "key": need.key,
        "facts": facts,
        "not_before": at + GATHER,
        "created_at": at,
        "message_id": f"notice.{secrets.token_hex(10)}",
    }
    Notice.insert(new).on_conflict_ignore().execute()
    return True


def _settle_vanished(merchant: Merchant, present: set[tuple[NeedKind, str]], at: datetime) -> None:
    waiting = Notice.select().where(Notice.merchant == merchant, Notice.state == NoticeState.WAITING)
    for notice in waiting.where(Notice.lease_until.is_null() | (Notice.lease_until < at)):
        if (notice.kind, notice.key) in present:
            continue
        if notice.kind == NeedKind.BREAKER:
            # While it lasted nobody could be told, so the letter that says it is over is the only one.
            facts = {"ended_at": at.isoformat(), **notice.facts}
            Notice.update(facts=facts).where(Notice.id == notice.id).execute()
        else:
            Notice.update(state=NoticeState.SETTLED).where(Notice.id == notice.id).execute()


def _is_due(at: datetime) -> Any:
    is_free = Notice.lease_until.is_null() | (Notice.lease_until < at)
    return (Notice.state == NoticeState.WAITING) & (Notice.not_before <= at) & is_free


def _gathered(user: User, at: datetime) -> list[Notice]:
    """The notices of the next letter: one that was tried before keeps its content, a new one takes all that waits."""
    due = list(Notice.select().where(Notice.user == user, _is_due(at)).order_by(Notice.not_before, Notice.id))
    if not due:
        return []
    lead = due[0]
    is_free = Notice.lease_until.is_null() | (Notice.lease_until < at)
    same = (Notice.user == user) & (Notice.merchant == lead.merchant_id) & (Notice.state == NoticeState.WAITING)
    waiting = Notice.select().where(same, is_free).order_by(Notice.id)
    return [notice for notice in waiting if notice.facts.get("letter") == lead.facts.get("letter")]


def _take(notice: Notice, *, letter: str, at: datetime) -> None:
    changes = {"token": notice.token + 1, "attempt": notice.attempt + 1, "lease_until": at + LEASE}
    facts = {**notice.facts, "letter": letter}
    if not Notice.update(**changes, facts=facts).where(Notice.id == notice.id, Notice.token == notice.token).execute():
        raise LeaseLost(f"notice {notice.id} was taken by somebody else")


def _update_held(notice: Notice, **changes: object) -> None:
    held = Notice.id == notice.id, Notice.token == notice.token, Notice.state == NoticeState.WAITING
    if not Notice.update(**changes).where(*held).execute():
        raise LeaseLost(f"notice {notice.id} is not ours any more (token {notice.token})")
