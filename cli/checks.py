"""`flask audit` and `flask doctor`: is every promise kept, and is everything there that the shop needs?"""

import base64
import contextlib
import dataclasses
import json
import secrets
from collections.abc import Callable

import click
import flask
import peewee
from flask.cli import with_appcontext

import config
from cli import schema
from database import connected
from domain import audit, clock, fulfilment
from effects.outside import here
from gateways.document import DocumentFailed, Press, VoucherDocument
from gateways.mailer import MailFailed
from gateways.stripe_checkout import StripeRefused, StripeUnavailable
from models import Merchant, Worker


@click.command("audit")
@with_appcontext
def run_audit() -> None:
    """Check every invariant of ledger, orders and steps; prints JSON and exits 1 when one is broken."""
    with connected():
        findings = audit.run()
    report = {"clean": audit.is_clean(findings), "invariants": [dataclasses.asdict(finding) for finding in findings]}
    click.echo(json.dumps(report, indent=2))
    if not report["clean"]:
        raise SystemExit(1)


@click.command("doctor")
@with_appcontext
def run_doctor() -> None:
    """Check each need of the shop: ✓, or ✗ with what to do. Exits 1 when a need is not met."""
    is_well = True
    for name, check in CHECKS.items():
        with connected() if name not in _WITHOUT_DATABASE else contextlib.nullcontext():
            fix = check()
        is_well = is_well and fix is None
        click.echo(f"✓ {name}" if fix is None else f"✗ {name}: {fix}")
    if not is_well:
        raise SystemExit(1)


def _secrets_set() -> str | None:
    settings = here().settings
    if settings.secret_key is None and not settings.is_demo:
        make = "python -c 'import secrets; print(secrets.token_hex(32))'"
        return f"set SECRET_KEY ({make}); now a file in {settings.data_dir} is used"
    if settings.code_keys is None and not settings.is_demo:
        fresh = base64.b64encode(secrets.token_bytes(32)).decode()
        return f"set CODE_KEYS and keep it safe, e.g. CODE_KEYS=k1:{fresh}; now it hangs on SECRET_KEY"
    return None


def _schema_current() -> str | None:
    try:
        pending = schema.pending()
    except peewee.PeeweeException as error:
        return f"the database does not answer ({type(error).__name__}); check DATABASE_URL"
    return f"{len(pending)} migration(s) pending; run: flask db upgrade" if pending else None


def _has_merchant() -> str | None:
    try:
        return None if Merchant.select().exists() else "no shop yet; run: flask merchant create --slug … --name …"
    except peewee.PeeweeException:
        return "run: flask db upgrade"


def _worker_alive() -> str | None:
    try:
        latest = Worker.latest()
    except peewee.PeeweeException:
        return "run: flask db upgrade"
    if latest is None or clock.now() - latest.seen_at > fulfilment.SILENT_AFTER:
        return "no worker was seen in the last minute; start one: flask worker"
    return None


def _queue_answers() -> str | None:
    try:
        len(flask.current_app.extensions["huey"])
    except Exception as error:
        return (
            f"the queue does not answer ({type(error).__name__}); check QUEUE_URL. Orders still go out, by the sweeper"
        )
    return None


def _stripe_answers() -> str | None:
    outside = here()
    if not outside.settings.webhook_secrets:
        return "set STRIPE_WEBHOOK_SECRET (whsec_…) so that payments are reported at once"
    try:
        # A session that cannot exist: whoever says so has accepted our key.
        outside.stripe.fetch_session(f"cs_{'live' if outside.stripe.is_live else 'test'}_doctor")
    except StripeUnavailable as error:
        if outside.settings.is_demo:
            return "the test payments are a part of the demo, which is not running; start it: make demo"
        return f"Stripe did not answer; check the network, then try again. It said: {' '.join(str(error).split())}"
    except StripeRefused as error:
        return None if error.code == "resource_missing" else f"Stripe says: {error}; check STRIPE_SECRET_KEY"
    return None


def _mail_answers() -> str | None:
    settings = here().settings
    if not settings.mail_server:
        return "set MAIL_SERVER (and MAIL_PORT, MAIL_USE_TLS, MAIL_USERNAME, MAIL_PASSWORD, MAIL_DEFAULT_SENDER)"
    if not settings.mail_default_sender and not settings.is_demo:
        return "set MAIL_DEFAULT_SENDER to an address that this server may send from"
    try:
        here().mailer.check()
    except MailFailed as error:
        return f"{error.kind}: {error.detail or 'no answer'}; check MAIL_SERVER and its companions"
    return None


def _pdf_prints() -> str | None:
    sample = VoucherDocument(
        issuer_name="Doctor", code="0000-0000-0000-0000", link="https://doctor", identifier="doctor"
    )
    try:
        with Press() as press:
            press.print(sample)
    except DocumentFailed as error:
        return error.detail
    return None


def _assets_there() -> str | None:
    needed = ("static/vendor/htmx.min.js", "static/vendor/fonts", "translations/de/LC_MESSAGES/messages.mo")
    missing = [name for name in needed if not (config.ROOT / name).exists()]
    return f"missing: {', '.join(missing)}; run: make setup" if missing else None


_WITHOUT_DATABASE = frozenset({"secrets", "queue", "stripe", "mail", "pdf", "assets"})
CHECKS: dict[str, Callable[[], str | None]] = {
    "secrets": _secrets_set,
    "database": _schema_current,
    "shop": _has_merchant,
    "queue": _queue_answers,
    "worker": _worker_alive,
    "stripe": _stripe_answers,
    "mail": _mail_answers,
    "pdf": _pdf_prints,
    "assets": _assets_there,
}
COMMANDS = [run_audit, run_doctor]
