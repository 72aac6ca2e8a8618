"""Read a JSON body so strictly that nothing in it can surprise the code behind it.

Python's own reader takes NaN, Infinity and duplicate keys, and falls over 100 kB of `[`. This one answers 400, 413 or
415 instead.
"""

import json
from typing import Any, NoReturn

import flask
from werkzeug.exceptions import RequestEntityTooLarge

from blueprints.api.problems import Problem

SIZE_LIMIT = 64 * 1024
DEPTH_LIMIT = 20


def load() -> dict[str, Any]:
    """The body of this request as an object; raises Problem."""
    _require_json()
    return parse(_raw())


def parse(raw: bytes) -> dict[str, Any]:
    """`raw` as an object of JSON (RFC 8259, and I-JSON's ban on duplicate keys); raises Problem 400."""
    try:
        loaded = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
        )
    except UnicodeDecodeError:
        _refuse("The body is not UTF-8.")
    except RecursionError:
        _refuse(f"The body is nested more than {DEPTH_LIMIT} levels deep.")
    except json.JSONDecodeError as error:
        _refuse(f"The body is not JSON: {error.msg} at character {error.pos}.")
    except ValueError:
        _refuse("The body holds a number that is too long.")
    if not isinstance(loaded, dict):
        _refuse("The body must be a JSON object.")
    _inspect(loaded, depth=1)
    return loaded


def require_clean_text(*texts: str) -> None:
    """Raise Problem 400 when one of `texts` holds what no JSON text may hold and no database keeps."""
    for text in texts:
        _inspect_text(text)


def _require_json() -> None:
    if flask.request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem("unsupported_media_type", "Send the body without Content-Encoding.")
    charset = flask.request.mimetype_params.get("charset", "utf-8").lower()
    if flask.request.mimetype != "application/json" or charset not in ("utf-8", "utf8", "us-ascii"):
        raise Problem("unsupported_media_type", "Send Content-Type: application/json, in UTF-8.")


def _raw() -> bytes:
    flask.request.max_content_length = SIZE_LIMIT
    try:
        return flask.request.get_data()
    except RequestEntityTooLarge:
        raise Problem("body_too_large", f"A body may have {SIZE_LIMIT} bytes at most.") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _refuse("The body names the same key twice in one object.")
    return found


def _no_constant(name: str) -> NoReturn:
    _refuse(f"{name} is not JSON.")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        _refuse("The body holds a number that is too large.")
    return number


def _inspect(value: Any, *, depth: int) -> None:
    if depth > DEPTH_LIMIT:
        _refuse(f"The body is nested more than {DEPTH_LIMIT} levels deep.")
    if isinstance(value, str):
        _inspect_text(value)
    elif isinstance(value, dict):
        for name, item in value.items():
            _inspect_text(name)
            _inspect(item, depth=depth + isinstance(item, dict | list))
    elif isinstance(value, list):
        for item in value:
            _inspect(item, depth=depth + isinstance(item, dict | list))


def _inspect_text(text: str) -> None:
    if "\0" in text:
        _refuse("The request holds a NUL character.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        _refuse("The request holds half of a surrogate pair.")


def _refuse(detail: str) -> NoReturn:
    raise Problem("malformed_request", detail)
