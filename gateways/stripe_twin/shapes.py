"""Holds what the twin says against the SDK's own resource classes, field by field: the SDK describes the API.

Enumerations are closed: where the SDK takes a known word or any text, only the known words are right here.
"""

import types
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import stripe
from stripe.events._event_classes import get_v2_event_notification_class
from stripe.v2 import core

from gateways.stripe_twin.wire import Json

_RESOURCES: dict[str, type] = {
    "application": stripe.Application,
    "balance_transaction": stripe.BalanceTransaction,
    "charge": stripe.Charge,
    "checkout.session": stripe.checkout.Session,
    "dispute": stripe.Dispute,
    "event": stripe.Event,
    "item": stripe.LineItem,
    "payment_intent": stripe.PaymentIntent,
    "price": stripe.Price,
    "radar.early_fraud_warning": stripe.radar.EarlyFraudWarning,
    "refund": stripe.Refund,
    "v2.core.account": core.Account,
    "v2.core.account_link": core.AccountLink,
    "v2.core.event": core.Event,
}
# A value's faults, each with the path below the value; none when it is right.
_Check: TypeAlias = Callable[[Any], list[str]]
# Given by the notification's class and not by the event's.
_BESIDE_EVENT = ("related_object", "data")
_NAMESPACE: dict[str, Any] = {**vars(stripe), "Any": Any, "Dict": dict}


class ShapeError(Exception):
    """The twin was about to say something that Stripe's API does not have: a fault of the twin."""


def check(body: Json) -> Json:
    """The same body. Raises ShapeError that names class and field of everything that differs from the SDK."""
    found = faults(body)
    if found:
        raise ShapeError("The twin's answer differs from the SDK's types: " + "; ".join(found[:20]))
    return body


def faults(body: Json) -> list[str]:
    """`Class.field: what is wrong` for everything in a resource, a list or an event that the SDK does not describe."""
    if body.get("object") == "list" or "next_page_url" in body:
        return [fault for one in body["data"] for fault in faults(one)]
    kind = _RESOURCES.get(body.get("object", ""))
    if kind is None:
        return [f"{body.get('object')!r} is no resource that the twin knows"]
    if kind is core.Event:
        return _of_thin_event(body)
    found = _under(kind.__name__, _fields(kind)(body))
    return found + (faults(body["data"]["object"]) if kind is stripe.Event else [])


def _of_thin_event(body: Json) -> list[str]:
    name = get_v2_event_notification_class(body["type"]).__name__
    unknown = [f"Event.type: {body['type']!r} is unknown"] if name == "UnknownEventNotification" else []
    plain = {field: value for field, value in body.items() if field not in _BESIDE_EVENT}
    related = body.get("related_object")
    is_named = related is None or set(related) == {"id", "type", "url"}
    found = unknown + _under("Event", _fields(core.Event)(plain))
    return found if is_named else [*found, "Event.related_object: wrong"]


def _under(name: str, found: list[str]) -> list[str]:
    return [f"{name}{fault}" for fault in found]


# What follows is worked out once for each class: it runs for every answer of every test.


@cache
def _fields(kind: type) -> _Check:
    hints = _hints(kind)
    checks = {name: _check_of(hint) for name, hint in hints.items()}
    needed = [name for name, hint in hints.items() if not _may_miss(hint)]

    def check_fields(value: Any) -> list[str]:
        if not isinstance(value, dict):
            return [f": no {kind.__name__}"]
        found = [f".{name}: missing" for name in needed if name not in value]
        for name, below in value.items():
            if name not in checks:
                found.append(f".{name}: not in the API")
            elif faults_below := checks[name](below):
                found += _under(f".{name}", faults_below)
        return found

    return check_fields


def _check_of(hint: Any) -> _Check:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda _value: []
    if origin in (Union, types.UnionType):
        return _any_of([_check_of(choice) for choice in _closed(inner)])
    if origin is Literal:
        words = frozenset(inner)
        return lambda value: [] if value in words else [f": {value!r} is none of {', '.join(map(str, inner[:12]))}"]
    if origin is list:
        return _each(_check_of(inner[0]))
    return _one(origin or hint)


def _any_of(checks: list[_Check]) -> _Check:
    def check_union(value: Any) -> list[str]:
        fewest: list[str] | None = None
        for one in checks:
            found = one(value)
            if not found:
                return []
            fewest = found if fewest is None or len(found) < len(fewest) else fewest
        return fewest or []

    return check_union


def _each(check_item: _Check) -> _Check:
    def check_list(value: Any) -> list[str]:
        if not isinstance(value, list):
            return [": no list"]
        return [fault for at, one in enumerate(value) for fault in _under(f"[{at}]", check_item(one))]

    return check_list


def _one(kind: Any) -> _Check:
    if kind is stripe.ListObject:
        return lambda value: _under(" ", faults(value)) if isinstance(value, dict) else [": no list"]
    if kind.__name__ in ("UntypedStripeObject", "dict", "Mapping"):
        return lambda value: [] if isinstance(value, dict) else [": no object"]
    if issubclass(kind, stripe.StripeObject):
        return _object(kind)
    if kind.__name__ == "Decimal":
        return lambda value: [] if isinstance(value, str) else [": no decimal text"]
    allowed = (float, int) if kind is float else (kind,)
    return lambda value: [] if type(value) in allowed else [f": {value!r} is no {kind.__name__}"]


def _object(kind: type) -> _Check:
    def check_object(value: Any) -> list[str]:
        # Worked out when it is needed: classes contain each other.
        return _fields(kind)(value)

    return check_object


def _closed(choices: tuple[Any, ...]) -> list[Any]:
    is_enumeration = any(get_origin(choice) is Literal for choice in choices)
    return [choice for choice in choices if not (is_enumeration and choice is str)]


def _may_miss(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)


def _hints(kind: type) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for owner in reversed(kind.__mro__[:-1]):
        is_described = owner.__module__.startswith("stripe.") and owner is not stripe.StripeObject
        if is_described and "__annotations__" in vars(owner):
            hints |= {name: hint for name, hint in _own_hints(owner).items() if not name.startswith("_")}
    return {name: hint for name, hint in hints.items() if not name.isupper()}


def _own_hints(owner: type) -> dict[str, Any]:
    try:
        return get_type_hints(owner, localns=_NAMESPACE)
    except NameError as unknown:
        _NAMESPACE[str(unknown.name)] = Any  # a class that only a type checker sees
        return _own_hints(owner)
