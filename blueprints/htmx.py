"""The one door to htmx: which answer a request gets, and every htmx header that the product sends.

Every URL answers a whole page; htmx gets the fragment of the same name out of the same view.
"""

import json
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, render_template, request
from flask import redirect as plain_redirect
from htmx_flask import Htmx, make_response
from werkzeug.wrappers import Response as BaseResponse


def register(app: Flask) -> None:
    """Make requests aware of htmx and answers honest about it (`Vary: HX-Request`)."""
    # Htmx replaces the request class, so this comes before anything that subclasses it.
    Htmx(app)
    app.after_request(_vary)


def wants_fragment() -> bool:
    """True when htmx asks for a piece of the page; boosted links and history restores get the whole page."""
    asked = getattr(request, "htmx", None)
    return bool(asked) and not asked.boosted and not asked.history_restore_request


def respond(page: str, fragment: str, *, status: int = 200, **context: Any) -> Response:
    """Render `fragment` when htmx asks for it, else `page`; both templates get the same context."""
    template = fragment if wants_fragment() else page
    return make_response(render_template(template, **context), status)


def fragment(template: str, *, status: int = 200, events: Mapping[str, Any] | None = None, **context: Any) -> Response:
    """Render a fragment and tell the page what happened, for example `events={"toast": "E-mail queued"}`."""
    return announce(make_response(render_template(template, **context), status), events or {})


def announce(response: Response, events: Mapping[str, Any]) -> Response:
    """Add events for the page to an answer: `toast` (≤ 3 words) and `status` (read out, not shown) are understood."""
    if events:
        # Header values are latin-1; escaped JSON carries umlauts through.
        response.headers["HX-Trigger"] = json.dumps(dict(events), ensure_ascii=True)
    return response


def redirect(url: str) -> Response | BaseResponse:
    """303 to `url` without htmx; with htmx the whole page changes to it."""
    if wants_fragment():
        return make_response("", 200, redirect=url)
    return plain_redirect(url, 303)


def _vary(response: Response) -> Response:
    # Without it a cache or the back button shows a fragment as a whole page.
    response.vary.add("HX-Request")
    return response
