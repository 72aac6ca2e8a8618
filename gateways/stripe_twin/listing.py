"""Lists as Stripe answers them, a page at a time, and the objects that a caller wants to see inside others."""

import itertools
from collections.abc import Callable
from typing import TypeAlias

from flask import request

from gateways.stripe_twin import objects, wire
from gateways.stripe_twin.book import Book, Kept
from gateways.stripe_twin.wire import Json, WireError

Test: TypeAlias = Callable[[Kept], bool]


def page(
    book: Book,
    kind: str,
    params: Json,
    *,
    account: str,
    fits: Test = lambda _kept: True,
    refresh: Callable[[Kept], Kept] = lambda kept: kept,
    is_delivered: bool | None = None,
) -> Json:
    """One page of an account's objects that fit, newest first, from where the caller stands.

    `refresh` brings an object up to date before it is looked at. Raises WireError for a wrong limit or cursor.
    """
    limit, is_backward, when = _limit(params), "ending_before" in params, params.get("created", {})
    beyond = params.get("ending_before") or params.get("starting_after", "")
    found = book.walk(
        kind,
        account=account,
        beyond=beyond,
        is_backward=is_backward,
        is_delivered=is_delivered,
        since=_oldest(when),
    )
    if beyond and book.find(beyond) is None:
        raise wire.no_such("object", beyond)
    good = (kept for kept in map(refresh, found) if _is_created(kept.body, when) and fits(kept))
    bodies = [kept.body for kept in itertools.islice(good, limit + 1)]
    shown = bodies[:limit][::-1] if is_backward else bodies[:limit]
    return objects.page(shown, url=request.path, has_more=len(bodies) > limit)


def page_of(found: list[Json], params: Json) -> Json:
    """One page of a few objects that are kept together, such as a session's lines."""
    ids = [body["id"] for body in found]
    after = params.get("starting_after")
    if after is not None and after not in ids:
        raise wire.no_such("object", after)
    limit, rest = _limit(params), found[ids.index(after) + 1 :] if after else found
    return objects.page(rest[:limit], url=request.path, has_more=len(rest) > limit)


def agrees(kept: Kept, params: Json, *names: str) -> bool:
    """The object has what was asked for in all of these fields that were asked for."""
    return all(kept.body[name] == params[name] for name in names if name in params)


def expanded(book: Book, answer: Json, paths: list[str]) -> Json:
    """The answer with whole objects where ids were. Raises WireError for a path that leads nowhere."""
    for path in paths:
        parts = path.split(".")
        if answer["object"] == "list":
            if parts.pop(0) != "data":
                raise _not_expandable(path)
            answer["data"] = [_expand(book, body, parts, path) for body in answer["data"]]
        else:
            answer = _expand(book, answer, parts, path)
    return answer


def _limit(params: Json) -> int:
    limit: int = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise WireError("This value must be between 1 and 100.", code="parameter_invalid_integer", param="limit")
    return limit


def _oldest(when: Json | int) -> int:
    return when if isinstance(when, int) else max(when.get("gte", 0), when.get("gt", -1) + 1)


def _is_created(body: Json, when: Json | int) -> bool:
    if isinstance(when, int):
        return bool(body["created"] == when)
    moment, far = body.get("created", 0), 1 << 62
    is_early_enough = moment < when.get("lt", far) and moment <= when.get("lte", far)
    return bool(is_early_enough and moment > when.get("gt", -1) and moment >= when.get("gte", 0))


def _expand(book: Book, body: Json, parts: list[str], path: str) -> Json:
    if not parts or (parts[0] not in body and parts[0] != "line_items"):
        raise _not_expandable(path)
    name, below = parts[0], body.get(parts[0])
    if name == "line_items":
        kept = book.find(body["id"])
        url = f"/v1/checkout/sessions/{body['id']}/line_items"
        return {**body, name: objects.page(kept.aside["lines"] if kept else [], url=url, has_more=False)}
    if isinstance(below, str):
        kept = book.find(below)
        if kept is None:
            raise _not_expandable(path)
        below = kept.body
    return {**body, name: _expand(book, below, parts[1:], path) if below and parts[1:] else below}


def _not_expandable(path: str) -> WireError:
    return WireError(f"This property cannot be expanded ({path[:100]}).", param="expand")
