"""Keys of the JSON API: created, shown once, verified, rolled with an overlap, revoked.

A key reads `gv_test_<id>_<secret>` or `gv_live_<id>_<secret>`. Only the SHA-256 of the secret is stored: it has 256
random bits, so a slow hash would protect nothing and cost every request.
"""

import hashlib
import hmac
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from database import Prepared, slot, transaction
from domain import clock, idempotency, refusals, timeline
from models import ApiKey, Merchant


class Scope(StrEnum):
    """What a key may do. A till gets the two narrow ones and so can never mint a voucher."""

    MARKETING_READ = "marketing:read"
    MARKETING_WRITE = "marketing:write"
    POS_VALIDATE = "pos:validate"
    POS_REDEEM = "pos:redeem"


ROLL_OVERLAP = timedelta(hours=24)
LAST_USE_GAP = timedelta(minutes=1)
NAME_LIMIT = 60
PLACE_LIMIT = 255

_FORM = re.compile(r"gv_(?P<mode>test|live)_(?P<key_id>[0-9a-f]{12})_(?P<secret>[A-Za-z0-9_-]{43})", re.ASCII)
_KEY_ID = re.compile(r"[0-9a-f]{12}", re.ASCII)
_WITH_MERCHANT = Prepared(lambda: ApiKey.select(ApiKey, Merchant).join(Merchant).where(ApiKey.key_id == slot("key_id")))
# Compared when the id is unknown, so that a wrong id costs the time of a wrong secret. No secret has this hash.
_NOBODY = "0" * 64


def create(
    merchant: Merchant,
    *,
    name: str,
    scopes: Iterable[str],
    terminal: str | None = None,
    location: str | None = None,
    is_test: bool,
    actor: str = "system",
    nonce: str | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its text, which is shown this once and can never be read again.

    `nonce` makes one rendered form one key: a second use raises KeyMadeBefore. Raises FieldsRefused for the fields
    `name`, `scopes`, `terminal` and `location`.
    """
    chosen = sorted(set(scopes))
    _check(name=name, scopes=chosen, terminal=terminal, location=location)

    def make() -> tuple[ApiKey, str]:
        made = _insert(
            merchant,
            name=name.strip(),
            scopes=chosen,
            terminal=(terminal or "").strip() or None,
            location=(location or "").strip() or None,
            is_test=is_test,
        )
        _tell(made[0], "api_key_created", actor=actor)
        return made

    return _once(merchant, nonce, make)


def verify(text: str, *, at: datetime) -> ApiKey | None:
    """The usable key that `text` is, with its merchant loaded; None for a wrong, revoked or expired one."""
    form = _FORM.fullmatch(text)
    key = _find(form["key_id"]) if form else None
    secret = form["secret"] if form else ""
    is_right = hmac.compare_digest(_hash(secret), key.secret_hash if key else _NOBODY)
    if form is None or key is None or not is_right:
        return None
    return key if key.is_test == (form["mode"] == "test") and key.is_usable(at) else None


def touch(key: ApiKey, *, at: datetime) -> None:
    """Remember the last use, at most once a minute: a busy till must not write a row for every request."""
    if key.last_used_at is not None and at - key.last_used_at < LAST_USE_GAP:
        return
    is_due = ApiKey.last_used_at.is_null() | (ApiKey.last_used_at <= at - LAST_USE_GAP)
    with transaction():
        ApiKey.update(last_used_at=at).where(ApiKey.id == key.id, is_due).execute()


def roll(key: ApiKey, *, actor: str = "system", overlap: timedelta = ROLL_OVERLAP) -> tuple[ApiKey, str]:
    """A successor with the same name, scopes and place; the old key works until `overlap` is over.

    A key is rolled once, however many ask at the same moment: KeyEnding for one that has an end already, KeyRevoked
    for one that was revoked.
    """
    with transaction():
        is_endless = ApiKey.expires_at.is_null() & ApiKey.revoked_at.is_null()
        ends_at = clock.now() + overlap
        changed = ApiKey.update(expires_at=ends_at).where(ApiKey.id == key.id, is_endless).execute()
        old = ApiKey.get_by_id(key.id)
        if not changed:
            raise _why_not_rolled(old)
        fresh, text = _insert(
            old.merchant,
            name=old.name,
            scopes=old.scopes,
            terminal=old.terminal,
            location=old.location,
            is_test=old.is_test,
        )
        _tell(old, "api_key_rolled", actor=actor, successor=fresh.key_id, ends_at=ends_at.isoformat())
    return fresh, text


def revoke(key: ApiKey, *, actor: str = "system") -> bool:
    """End the key at once and for ever; doing it again changes nothing. True when this call ended it."""
    with transaction():
        query = ApiKey.update(revoked_at=clock.now()).where(ApiKey.id == key.id, ApiKey.revoked_at.is_null())
        if not query.execute():
            return False
        _tell(key, "api_key_revoked", actor=actor)
    return True


def of_merchant(merchant: Merchant) -> list[ApiKey]:
    """The merchant's keys: those that work first, and the newest first among them."""
    now = clock.now()
    keys = ApiKey.select().where(ApiKey.merchant == merchant).order_by(ApiKey.id.desc())
    return sorted(keys, key=lambda key: not key.is_usable(now))


def find(merchant: Merchant, key_id: str) -> ApiKey | None:
    """The merchant's key with this id; another merchant's is as unknown as one that never was."""
    if _KEY_ID.fullmatch(key_id) is None:
        return None
    found: ApiKey | None = ApiKey.get_or_none(ApiKey.merchant == merchant, ApiKey.key_id == key_id)
    return found


class KeyRevoked(refusals.Refusal):
    """The key was revoked."""

    code, status, title = "key_revoked", 409, "This key was revoked"


class KeyEnding(refusals.Refusal):
    """The key was rolled before: it has an end, and its successor exists."""

    code, status, title = "key_ending", 409, "This key was rolled before"


class KeyMadeBefore(refusals.Refusal):
    """The form was sent before; `extra["key_id"]` names the key that it made, whose secret nobody can show again."""

    code, status, title = "key_made_before", 409, "This form has made its key already"


def _once(merchant: Merchant, nonce: str | None, make: Callable[[], tuple[ApiKey, str]]) -> tuple[ApiKey, str]:
    if nonce is None:
        with transaction():
            return make()
    made: list[tuple[ApiKey, str]] = []

    def work() -> idempotency.Answer:
        made.append(make())
        return idempotency.Answer(201, made[0][0].key_id)  # never the secret

    answer = idempotency.once(merchant, key=f"dash:{nonce}", route="api key", fingerprints=("",), work=work)
    if answer.is_replay:
        raise KeyMadeBefore(f"It made the key {answer.body}.", key_id=answer.body)
    return made[0]


def _why_not_rolled(key: ApiKey) -> refusals.Refusal:
    if key.revoked_at is not None:
        return KeyRevoked("Create a new key; a revoked one has no successor.")
    ended = "ended" if not key.is_usable(clock.now()) else "ends"
    return KeyEnding(f"It {ended} at {key.expires_at.isoformat()}. Use its successor, or create a new key.")


def _tell(key: ApiKey, kind: str, *, actor: str, **facts: object) -> None:
    facts |= {"name": key.name, "key_id": key.key_id}
    timeline.record(key.merchant, kind, order=None, voucher=None, actor=actor, **facts)


def _find(key_id: str) -> ApiKey | None:
    found: ApiKey | None = _WITH_MERCHANT.first(key_id=key_id)
    return found


def _insert(
    merchant: Merchant, *, name: str, scopes: list[str], terminal: str | None, location: str | None, is_test: bool
) -> tuple[ApiKey, str]:
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    key = ApiKey.create(
        merchant=merchant,
        key_id=key_id,
        name=name,
        secret_hash=_hash(secret),
        scopes=[str(scope) for scope in scopes],
        terminal=terminal,
        location=location,
        is_test=is_test,
    )
    return key, f"gv_{'test' if is_test else 'live'}_{key_id}_{secret}"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _check(*, name: str, scopes: list[str], terminal: str | None, location: str | None) -> None:
    problems: dict[str, tuple[str, str]] = {}
    if not name.strip():
        problems["name"] = ("required", "Give the key a name, such as the till's.")
    elif not _is_line(name, NAME_LIMIT):
        problems["name"] = ("too_long", f"Use at most {NAME_LIMIT} characters on one line.")
    if not scopes:
        problems["scopes"] = ("required", "Choose at least one scope.")
    elif set(scopes) - set(Scope):
        problems["scopes"] = ("not_allowed", "Choose only from the scopes that exist.")
    for field, text in (("terminal", terminal), ("location", location)):
        if text is not None and not _is_line(text, PLACE_LIMIT):
            problems[field] = ("too_long", f"Use at most {PLACE_LIMIT} characters on one line.")
    if problems:
        raise refusals.FieldsRefused(problems)


def _is_line(text: str, limit: int) -> bool:
    return len(text) <= limit and not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)
