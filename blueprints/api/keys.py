"""Who calls: the bearer key of a request, its scopes, its last use. A key in the address or a cookie never counts."""

import functools
import hashlib
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import flask
import peewee
import structlog

from blueprints.api.problems import Problem
from domain import api_keys, clock
from domain.api_keys import Scope
from models import ApiKey

# A till at work is never slowed down; guessing is. Codes that nobody has are counted for each key, keys that nobody has
# for each address.
UNKNOWN_CODES = "200 per hour"
UNKNOWN_KEYS = "60 per minute"
REALM = 'Bearer realm="Vouchsafe"'
_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


def guard(view: Callable[_Arguments, _Answer], *scopes: Scope) -> Callable[_Arguments, _Answer]:
    """`view` for callers alone whose key has one of `scopes`; a view that nobody may call is a mistake: ValueError."""
    if not scopes:
        raise ValueError(f"{view.__name__} has no scope")

    @functools.wraps(view)
    def guarded(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Answer:
        flask.g.api_key = _authenticate()
        _require(flask.g.api_key, scopes)
        return view(*arguments, **options)

    return guarded


def current() -> ApiKey:
    """The key of this request, with its merchant."""
    key: ApiKey = flask.g.api_key
    return key


def note_unknown_code() -> None:
    """This request named a code that nobody has: it counts against `UNKNOWN_CODES`."""
    flask.g.is_code_unknown = True


def is_code_unknown(response: flask.Response) -> bool:
    """True when the answered request named a code that nobody has."""
    return bool(flask.g.get("is_code_unknown"))


def is_key_known() -> bool:
    """True when this request came with a usable key: a neighbour's wrong keys never stop a till behind one address."""
    return _presented_key() is not None


def is_key_unknown(response: flask.Response) -> bool:
    """True when the answered request came without a key that we know."""
    return response.status_code == 401


def presented() -> str:
    """Whom `UNKNOWN_CODES` counts: the key as it was sent, hashed."""
    return hashlib.sha256(_bearer().encode()).hexdigest()[:32]


def _bearer() -> str:
    scheme, _, text = flask.request.headers.get("Authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


def _authenticate() -> ApiKey:
    if not _bearer():
        detail = "Send the API key in the header Authorization: Bearer <key>."
        raise Problem("invalid_api_key", detail, headers={"WWW-Authenticate": REALM})
    key = _presented_key()
    if key is None:
        detail = "This API key is unknown, expired or revoked."
        raise Problem("invalid_api_key", detail, headers={"WWW-Authenticate": f'{REALM}, error="invalid_token"'})
    _remember_use(key)
    return key


def _presented_key() -> ApiKey | None:
    if "presented_key" not in flask.g:
        flask.g.presented_key = api_keys.verify(_bearer(), at=clock.now()) if _bearer() else None
    found: ApiKey | None = flask.g.presented_key
    return found


def _remember_use(key: ApiKey) -> None:
    try:
        api_keys.touch(key, at=clock.now())
    except peewee.OperationalError:  # a busy database may cost us the time of the last use, never a sale
        structlog.get_logger().warning("last_use_not_written", key_id=key.key_id, exc_info=True)


def _require(key: ApiKey, scopes: tuple[Scope, ...]) -> None:
    if set(scopes) & set(key.scopes):
        return
    names = " or ".join(scopes)
    challenge = f'{REALM}, error="insufficient_scope", scope="{" ".join(scopes)}"'
    raise Problem(
        "insufficient_scope",
        f"This call needs the scope {names}.",
        headers={"WWW-Authenticate": challenge},
        needed_scopes=list(scopes),
    )
