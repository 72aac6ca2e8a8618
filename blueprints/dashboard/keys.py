"""Tills and API keys: who is connected, when it called last; made, rolled and revoked by owners alone."""

from dataclasses import dataclass, field
from typing import Any

from flask import abort, flash, make_response, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from blueprints import htmx
from blueprints.dashboard import desk, fields, roles, sentences, wording
from blueprints.dashboard.desk import blueprint
from domain import api_keys, clock, refusals
from effects.outside import here
from models import ApiKey, TimelineEntry

HISTORY_LIMIT = 20


@dataclass
class KeyForm:
    """A key as it is wished for; `problems` maps a field to one sentence in the reader's language."""

    nonce: str
    name: str = ""
    preset: str = "till"
    scopes: list[str] = field(default_factory=list)
    terminal: str = ""
    location: str = ""
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def chosen_scopes(self) -> list[str]:
        """What the key may do: the preset's scopes, or the ticked ones."""
        return self.scopes if self.preset == "single" else [str(scope) for scope in wording.KEY_PRESETS[self.preset][1]]


@blueprint.get("/keys")
def keys() -> ResponseReturnValue:
    """Every key with its last use; asked again by its own fragment twice a minute."""
    return htmx.respond("dashboard/keys.html", "dashboard/_keys.html", **_describe())


@blueprint.post("/keys")
def create_key() -> ResponseReturnValue:
    """A new key, its secret on this one answer. The same form sent again makes nothing."""
    roles.require_owner()
    form = _read()
    if form.problems:
        return _page(status=422, form=form)
    try:
        key, secret = api_keys.create(
            desk.merchant(),
            name=form.name,
            scopes=form.chosen_scopes,
            terminal=form.terminal,
            location=form.location,
            is_test=here().settings.is_test,
            actor=desk.actor(),
            nonce=form.nonce,
        )
    except refusals.FieldsRefused as refused:
        form.problems = {name: _problem(name, code) for name, (code, _detail) in refused.problems.items()}
        return _page(status=422, form=form)
    except api_keys.KeyMadeBefore as before:
        return _page(status=409, notice=("run", _sent_twice(before)))
    return _page(status=201, fresh=key, secret=secret)


@blueprint.get("/keys/<key_id>/roll")
def ask_to_roll(key_id: str) -> ResponseReturnValue:
    """The question before a key gets its successor."""
    return _ask("roll", key_id)


@blueprint.post("/keys/<key_id>/roll")
def roll_key(key_id: str) -> ResponseReturnValue:
    """A successor, its secret on this one answer; the old key works for another day."""
    key = _own_key_or_404(key_id)
    try:
        fresh, secret = api_keys.roll(key, actor=desk.actor())
    except api_keys.KeyRevoked:
        return _page(status=409, notice=("bad", _("This key is revoked. Create a new one instead.")))
    except api_keys.KeyEnding:
        sentence = _("This key was rolled before, so it has a successor. If its secret got lost, roll the successor.")
        return _page(status=409, notice=("run", sentence))
    return _page(status=201, fresh=fresh, secret=secret, old=ApiKey.get_by_id(key.id))


@blueprint.get("/keys/<key_id>/revoke")
def ask_to_revoke(key_id: str) -> ResponseReturnValue:
    """The question before a key ends."""
    return _ask("revoke", key_id)


@blueprint.post("/keys/<key_id>/revoke")
def revoke_key(key_id: str) -> ResponseReturnValue:
    """End a key now; the overlap of a rolled one too."""
    key = _own_key_or_404(key_id)
    is_ended_now = api_keys.revoke(key, actor=desk.actor())
    flash(_("Key revoked") if is_ended_now else _("It was revoked before"), "ok")
    return htmx.redirect(url_for("dashboard.keys"))


def _ask(verb: str, key_id: str) -> ResponseReturnValue:
    key = _own_key_or_404(key_id)
    return make_response(render_template("dashboard/key_step.html", verb=verb, key=key, words=wording, now=clock.now()))


def _own_key_or_404(key_id: str) -> ApiKey:
    key = api_keys.find(desk.merchant(), key_id) or abort(404)
    roles.require_owner()
    return key


def _page(*, status: int, **context: Any) -> ResponseReturnValue:
    # Always the whole page: a secret in a fragment that nobody swaps in would be lost.
    return make_response(render_template("dashboard/keys.html", **_describe(), **context), status)


def _describe() -> dict[str, Any]:
    history = TimelineEntry.select().where(
        TimelineEntry.merchant == desk.merchant(), TimelineEntry.kind.startswith("api_key_")
    )
    return {
        "keys": api_keys.of_merchant(desk.merchant()),
        "blank": KeyForm(nonce=fields.new_nonce()),
        "is_owner": roles.is_owner(),
        "owners": roles.owner_names(),
        "timeline": sentences.lines(
            history.order_by(TimelineEntry.id.desc()).limit(HISTORY_LIMIT), currency=desk.merchant().currency
        ),
        "words": wording,
        "now": clock.now(),
    }


def _read() -> KeyForm:
    preset, nonce = request.form.get("preset", ""), fields.nonce()
    form = KeyForm(
        nonce=nonce or fields.new_nonce(),
        name=fields.line("name"),
        preset=preset if preset in wording.KEY_PRESETS else "single",
        scopes=[scope for scope in request.form.getlist("scopes") if scope in wording.SCOPES],
        terminal=fields.line("terminal"),
        location=fields.line("location"),
    )
    if nonce is None:
        form.problems["nonce"] = _("This page was out of date. Please send the form again.")
    if form.scopes and form.preset != "single":
        form.problems["scopes"] = _(
            "Single permissions are ticked as well. Choose “Only these”, or take the ticks out."
        )
    return form


def _problem(name: str, code: str) -> str:
    if name == "scopes":
        return _("Choose at least one permission.")
    if code == "required":
        return _("Give the key a name, such as the till's.")
    limit = api_keys.NAME_LIMIT if name == "name" else api_keys.PLACE_LIMIT
    return _("Use at most %(limit)s characters.", limit=limit)


def _sent_twice(before: api_keys.KeyMadeBefore) -> str:
    key = api_keys.find(desk.merchant(), before.extra["key_id"])
    name = key.name if key is not None else ""
    return _(
        "The form was sent twice, and it made the key “%(name)s” once. Its secret was shown with the first answer. "
        "If it got lost, roll the key.",
        name=name,
    )
