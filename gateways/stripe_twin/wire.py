"""Stripe's wire format: nested form parameters in, errors out; every request checked against the SDK's own types."""

import json
import re
import secrets
import string
import types
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal, NotRequired, TypeAlias, Union, get_args, get_origin, get_type_hints

import pydantic
from stripe import StripeContext
from stripe._api_version import _ApiVersion
from stripe._request_options import RequestOptions
from stripe._stripe_object import UntypedStripeObject
from typing_extensions import TypedDict, is_typeddict

Json: TypeAlias = dict[str, Any]

API_VERSION = _ApiVersion.CURRENT
_NAMESPACE: dict[str, Any] = {"StripeContext": StripeContext, "Mapping": Mapping}
_KEY_PARTS = re.compile(r"\[([^\[\]]*)\]")
_DEEPEST = 10
_LETTERS = string.ascii_letters + string.digits


class WireError(Exception):
    """A request that Stripe would answer with an error of this shape.

    `more` are further fields of the error, `headers` of the answer. `is_final`: the work was tried, so the answer is
    bound to the idempotency key, as Stripe does with everything that went beyond checking parameters.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str = "",
        param: str = "",
        more: Json | None = None,
        headers: dict[str, str] | None = None,
        is_final: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind, self.code, self.param = kind, code, param
        self.more, self.headers, self.is_final = more or {}, headers or {}, is_final

    @property
    def body(self) -> Json:
        """The JSON object that Stripe would send."""
        facts = {"message": str(self), "type": self.kind, "code": self.code, "param": self.param, **self.more}
        return {"error": {name: value for name, value in facts.items() if value}}


def new_id(prefix: str, *, length: int = 24) -> str:
    """An id that looks like Stripe's: prefix and random letters and digits."""
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(length))


def decode_form(pairs: Iterable[tuple[str, str]]) -> Json:
    """`line_items[0][quantity]=1` → nested dicts and lists. Raises WireError for keys that contradict each other."""
    tree: Json = {}
    for key, value in pairs:
        _plant(tree, key, value)
    return {name: _with_lists(branch) for name, branch in tree.items()}


def decode_json(body: bytes) -> Json:
    """The object in a JSON body. Raises WireError for anything else."""
    try:
        value = json.loads(body.decode())
        dump(value).encode()  # half a character can be written as JSON, and not be sent again
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise WireError("The body is no JSON object.", code="invalid_json")
    return value


def check(params_type: type, params: Json) -> Json:
    """The parameters with their types, as this version of Stripe takes them. Raises WireError for any other."""
    try:
        return dict(_adapter(params_type).validate_python(params))
    except pydantic.ValidationError as problems:
        raise _first_error(problems, params) from None


def missing(name: str) -> WireError:
    """Stripe's answer to a required parameter that is not there."""
    return WireError(f"Missing required param: {name}.", code="parameter_missing", param=name)


def no_such(noun: str, object_id: str, *, param: str = "id") -> WireError:
    """Stripe's answer to an id that it does not know, or that another account owns."""
    return WireError(f"No such {noun}: '{object_id[:100]}'", status=404, code="resource_missing", param=param)


def dump(body: Any) -> str:
    """JSON as the twin sends it, in the answer and in events alike."""
    return json.dumps(body, ensure_ascii=False, indent=2)


def _plant(tree: Json, key: str, value: str) -> None:
    path = [key.partition("[")[0], *_KEY_PARTS.findall(key)]
    if len(path) > _DEEPEST:
        raise WireError("Parameters are nested too deeply.", param=path[0][:100])
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise WireError(f"Invalid object: {key}", param=key)
    # `expand[]=a&expand[]=b` numbers itself.
    tree[path[-1] or str(len(tree))] = value


def _with_lists(branch: Any) -> Any:
    if not isinstance(branch, dict):
        return branch
    if branch and all(part.isascii() and part.isdigit() for part in branch):
        return [_with_lists(branch[part]) for part in sorted(branch, key=int)]
    return {part: _with_lists(below) for part, below in branch.items()}


@cache
def _adapter(params_type: type) -> "pydantic.TypeAdapter[Any]":
    return pydantic.TypeAdapter(_strict(params_type, is_outermost=True))


def _strict(hint: Any, *, is_outermost: bool = False) -> Any:
    """The same type without openness: no unknown keys, no `str` beside an enumeration, no options of the SDK."""
    if is_typeddict(hint):
        return _strict_dict(hint, is_outermost=is_outermost)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is NotRequired:
        return NotRequired[_strict(inner[0])]
    if origin is list:
        return list[_strict(inner[0])]  # type: ignore[misc]
    if origin in (Union, types.UnionType):
        return Union[tuple(_strict(choice) for choice in _closed(inner))]  # noqa: UP007
    return hint


def _strict_dict(hint: Any, *, is_outermost: bool) -> Any:
    hints = get_type_hints(hint, localns=_NAMESPACE, include_extras=True)
    options = RequestOptions.__annotations__ if is_outermost else {}
    fields = {name: _strict(kind) for name, kind in hints.items() if name not in options}
    # Built by call: a type checker would want the fields written out.
    build: Any = TypedDict
    made = build(hint.__name__, fields)
    made.__pydantic_config__ = {"extra": "forbid"}
    return made


def _closed(choices: tuple[Any, ...]) -> list[Any]:
    kept = [choice for choice in choices if get_origin(choice) is not UntypedStripeObject]
    if any(get_origin(choice) is Literal and get_args(choice) != ("",) for choice in kept):
        return [choice for choice in kept if choice is not str]
    return kept


def _first_error(problems: pydantic.ValidationError, params: Json) -> WireError:
    found = problems.errors(include_url=False, include_context=False)
    problem = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    name = _parameter_name(problem["loc"], params)
    if problem["type"] == "extra_forbidden":
        return WireError(f"Received unknown parameter: {name}", code="parameter_unknown", param=name)
    if problem["type"] == "missing":
        return missing(name)
    if problem["type"].startswith("int_"):
        return WireError(f"Invalid integer: {name}", code="parameter_invalid_integer", param=name)
    return WireError(f"Invalid {name}: {problem['msg']}", code="parameter_invalid", param=name)


def _parameter_name(location: tuple[int | str, ...], params: Json) -> str:
    name, here = "", params
    for index, part in enumerate(location):
        is_last = index == len(location) - 1
        # pydantic also names the branch of a union that it tried.
        if not is_last and not _has(here, part):
            continue
        if is_last and part in ("int", "str") and name:
            continue
        name += f"[{part}]" if name else str(part)
        here = here[part] if _has(here, part) else {}  # type: ignore[index]
    return name


def _has(here: Any, part: int | str) -> bool:
    return part in here if isinstance(here, dict) else isinstance(here, list) and isinstance(part, int)
