"""The rooms of the house that speak HTTP: each with its address and its guard. Nothing is reachable without a guard."""

from enum import StrEnum

import flask
import flask_login
import flask_wtf

# Rooms where a cookie says who is there, so their forms carry a CSRF token. The shop sets no cookie at all, tills bring
# a key and Stripe signs: there is no session that a foreign page could ride on.
WITH_SESSION = frozenset({"auth", "dashboard", "docs"})


class Guard(StrEnum):
    """Who may enter a room."""

    PUBLIC = "public"
    SIGNED_IN = "signed_in"
    API_KEY = "api_key"
    SIGNED_BODY = "signed_body"


def rooms(*, is_demo: bool) -> list[tuple[flask.Blueprint, Guard]]:
    """Every blueprint with its guard; the demo's mailbox exists only where no real payment is possible."""
    from blueprints import api, auth, dashboard, demo, docs, health, shop, voucher_page, webhooks

    public = [shop, voucher_page, auth, health, docs] + ([demo] if is_demo else [])
    return [
        *((room.blueprint, Guard.PUBLIC) for room in public),
        (dashboard.blueprint, Guard.SIGNED_IN),
        (api.blueprint, Guard.API_KEY),
        (webhooks.blueprint, Guard.SIGNED_BODY),
    ]


def register(app: flask.Flask, *, csrf: flask_wtf.CSRFProtect, is_demo: bool) -> None:
    """Put every room on `app` behind its guard and remember the guard for the tests that walk the routes."""
    guards = app.extensions.setdefault("guards", {})
    for blueprint, guard in rooms(is_demo=is_demo):
        app.register_blueprint(blueprint)
        guards[blueprint.name] = guard
        if blueprint.name not in WITH_SESSION:
            csrf.exempt(blueprint)
    app.before_request(_guard)


def _guard() -> flask.typing.ResponseReturnValue | None:
    """Deny by default: a route outside of a guarded room answers 404 (static files aside)."""
    endpoint = flask.request.endpoint
    if endpoint in (None, "static"):
        return None
    guard = flask.current_app.extensions["guards"].get(flask.request.blueprint)
    if guard is None:
        flask.abort(404)
    if guard == Guard.SIGNED_IN and not flask_login.current_user.is_authenticated:
        return flask.current_app.login_manager.unauthorized()  # type: ignore[attr-defined]
    return None  # API keys and signed bodies are checked by their own rooms, which know how to refuse
