"""`/docs/api` and `/docs/api/<topic>`: one page for each topic, the same as Markdown, and a test key to begin with.

The texts are Markdown in `templates/docs/text/`; they are English, whatever language the reader's browser prefers.
"""

from typing import Any

import flask
import flask_babel
from flask.typing import ResponseReturnValue
from flask_login import current_user

from blueprints import htmx
from blueprints.dashboard import desk, fields, roles
from blueprints.docs import markdown, samples, topics
from domain import api_keys
from effects.outside import here

blueprint = flask.Blueprint("docs", __name__)

PLACEHOLDER = "gv_test_…"
KEY_NAME = "Documentation"
_TILL = (api_keys.Scope.POS_VALIDATE, api_keys.Scope.POS_REDEEM)


@blueprint.get("/docs/api")
def show_start() -> ResponseReturnValue:
    """The guide begins with its first topic."""
    return _page(topics.TOPICS["start"])


@blueprint.get("/docs/api/<name>")
def show_topic(name: str) -> ResponseReturnValue:
    """One topic as a page, or as Markdown when its address ends so."""
    topic = topics.TOPICS.get(name.removesuffix(".md")) or flask.abort(404)
    if name.endswith(".md"):
        return flask.Response(_text(topic, secret=""), content_type="text/markdown; charset=utf-8")
    return _page(topic)


@blueprint.post("/docs/api/key")
def create_key() -> ResponseReturnValue:
    """A test key for a till of the reader's own shop, filled into the first sample; shown on this answer alone."""
    if not _sit_down():
        return htmx.redirect(flask.url_for("auth.login"))
    topic, nonce = topics.TOPICS["start"], fields.nonce()
    if not roles.is_owner():
        return _page(topic, status=403, problem=f"Only owners make keys. Ask {', '.join(roles.owner_names())}.")
    if nonce is None:
        return _page(topic, status=422, problem="This page was out of date. Please press the button again.")
    try:
        _, secret = api_keys.create(
            desk.merchant(), name=KEY_NAME, scopes=_TILL, is_test=True, actor=desk.actor(), nonce=nonce
        )
    except api_keys.KeyMadeBefore:
        return _page(topic, status=409, problem="This button made its key already. Make another one if it got lost.")
    return _page(topic, status=201, secret=secret)


def _page(topic: topics.Topic, *, status: int = 200, secret: str = "", problem: str = "") -> flask.Response:
    is_signed_in = _sit_down()
    with flask_babel.force_locale("en"):
        title, sections = markdown.read(_text(topic, secret=secret))
        body = flask.render_template(
            "docs/page.html",
            topic=topic,
            title=title,
            sections=sections,
            groups=topics.GROUPS,
            neighbours=_neighbours(topic),
            secret=secret,
            problem=problem,
            has_session=is_signed_in,
            may_make_key=is_signed_in and roles.is_owner(),
            nonce=fields.new_nonce(),
            locale="en",
        )
    response = flask.make_response(body, status)
    response.headers["Cache-Control"] = "no-store" if is_signed_in else "no-cache"
    return response


def _text(topic: topics.Topic, *, secret: str) -> str:
    address = here().settings.public_url
    context: dict[str, Any] = topics.facts() | {
        "address": address,
        "secret": secret,
        "samples": samples.fences,
        "first": samples.filled_fences("first_validate", address=address, secret=secret or PLACEHOLDER),
    }
    return flask.render_template(f"docs/text/{topic.name}.md", **context)


def _sit_down() -> bool:
    """Whether somebody with a shop is signed in."""
    return bool(current_user.is_authenticated) and desk.find_merchant() is not None


def _neighbours(topic: topics.Topic) -> tuple[topics.Topic | None, topics.Topic | None]:
    order = list(topics.TOPICS.values())
    place = order.index(topic)
    return (order[place - 1] if place else None), (order[place + 1] if place + 1 < len(order) else None)
