"""`flask api-key create|list|roll|revoke`: a secret stands alone on stdout, once; everything else on stderr."""

import json
from datetime import datetime

import click
from flask.cli import with_appcontext

from cli.people import merchant_called
from database import connected
from domain import api_keys, clock, refusals
from effects.outside import here
from models import ApiKey

ACTOR = "operator"


@click.group("api-key", help="Keys for tills and other programs.")
def api_key_group() -> None: ...


_merchant = click.option("--merchant", "slug", required=True, help="The slug of the merchant.")
_key_id = click.option("--key-id", required=True, help="The twelve signs behind gv_test_ or gv_live_.")


@api_key_group.command("create")
@_merchant
@click.option("--name", required=True, help="Where the key is used, e.g. 'Bar till'.")
@click.option(
    "--scope", "scopes", multiple=True, required=True, type=click.Choice([scope.value for scope in api_keys.Scope])
)
@click.option("--terminal", default=None)
@click.option("--location", default=None)
@with_appcontext
def create(slug: str, name: str, scopes: tuple[str, ...], terminal: str | None, location: str | None) -> None:
    """Create a key and print it, this once, alone on stdout."""
    with connected():
        try:
            key, secret = api_keys.create(
                merchant_called(slug),
                name=name,
                scopes=[api_keys.Scope(scope) for scope in scopes],
                terminal=terminal,
                location=location,
                is_test=here().settings.is_test,
                actor=ACTOR,
            )
        except refusals.FieldsRefused as refused:
            raise click.BadParameter(
                "; ".join(f"--{name}: {why}" for name, (_, why) in refused.problems.items())
            ) from None
    click.echo(f"key {key.key_id} ({key.name}); this is the only time its secret is shown:", err=True)
    click.echo(secret)


@api_key_group.command("list")
@_merchant
@click.option("--json", "is_json", is_flag=True, help="For programs: a list of objects.")
@with_appcontext
def list_keys(slug: str, is_json: bool) -> None:
    """List the keys: those that work first, the newest first among them."""
    with connected():
        keys = api_keys.of_merchant(merchant_called(slug))
    if is_json:
        click.echo(json.dumps([_facts(key) for key in keys], indent=2))
        return
    for key in keys:
        facts = _facts(key)
        place = ", ".join(filter(None, (key.terminal, key.location))) or "-"
        used = facts["last_used_at"] or "never"
        click.echo(f"{key.key_id}  {facts['state']:8}  {used:25}  {key.name} ({place}): {' '.join(key.scopes)}")
    if not keys:
        click.echo("no keys yet; make one with: flask api-key create", err=True)


@api_key_group.command("roll")
@_merchant
@_key_id
@with_appcontext
def roll(slug: str, key_id: str) -> None:
    """Give a key a successor and print the new secret; the old one works for 24 more hours."""
    with connected():
        try:
            fresh, secret = api_keys.roll(_found(slug, key_id), actor=ACTOR)
        except refusals.Refusal as refusal:
            raise click.ClickException(f"{refusal.title}. {refusal.detail}") from None
        ends_at = ApiKey.get(ApiKey.key_id == key_id).expires_at
    click.echo(f"key {fresh.key_id} follows {key_id}, which works until {_moment(ends_at)}:", err=True)
    click.echo(secret)


@api_key_group.command("revoke")
@_merchant
@_key_id
@with_appcontext
def revoke(slug: str, key_id: str) -> None:
    """End a key now and for ever."""
    with connected():
        is_ended_now = api_keys.revoke(_found(slug, key_id), actor=ACTOR)
    click.echo(f"key {key_id} is revoked" if is_ended_now else f"key {key_id} was revoked before", err=True)


def _found(slug: str, key_id: str) -> ApiKey:
    key = api_keys.find(merchant_called(slug), key_id)
    if key is None:
        raise click.BadParameter(f"--key-id: {slug} has no key {key_id!r}; see: flask api-key list --merchant {slug}")
    return key


def _facts(key: ApiKey) -> dict[str, object]:
    return {
        "key_id": key.key_id,
        "name": key.name,
        "scopes": key.scopes,
        "terminal": key.terminal,
        "location": key.location,
        "mode": "test" if key.is_test else "live",
        "state": _state(key),
        "created_at": _moment(key.created_at),
        "last_used_at": _moment(key.last_used_at),
        "expires_at": _moment(key.expires_at),
        "revoked_at": _moment(key.revoked_at),
    }


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "active"
    return "ending" if key.is_usable(clock.now()) else "ended"


def _moment(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None


COMMANDS = [api_key_group]
