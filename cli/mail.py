"""`flask mail test|bounce|collect`: does mail go out, and what came back."""

import json
import secrets
import sys

import click
from flask.cli import with_appcontext

from database import connected
from effects import bounces, mail
from effects.outside import here
from gateways import letters
from gateways.bounce_mailbox import MailboxFailed
from gateways.mailer import Failure, MailFailed
from models import Merchant

# What sendmail's heirs understand as "keep it and come back".
_TEMPORARY_FAILURE = 75
_LARGEST = 1 << 20
_WHAT_TO_DO = {
    Failure.BAD_ADDRESS: "The server does not take this address. Check it, or try another one.",
    Failure.REFUSED: "The server refuses this letter. Often SPF or DKIM of the sender's domain is missing.",
    Failure.NOT_NOW: "The server asks to come back later. Try again in five minutes; vouchers wait by themselves.",
    Failure.OURS: "Check MAIL_USERNAME, MAIL_PASSWORD, MAIL_DEFAULT_SENDER and the server's certificate.",
    Failure.UNREACHABLE: "Check MAIL_SERVER, MAIL_PORT, MAIL_USE_TLS and MAIL_USE_SSL, and the firewall.",
    Failure.UNKNOWN: "The line broke after the letter was handed over: it may have arrived. Look into the mailbox.",
}


@click.group("mail", help="Does mail go out, and what came back?")
def mail_group() -> None: ...


@mail_group.command("test")
@click.argument("address")
@click.option("--locale", type=click.Choice(["de", "en"]), default="en", show_default=True)
@with_appcontext
def test(address: str, locale: letters.Locale) -> None:
    """Send ADDRESS a letter that sells nothing, and say what the mail server answered."""
    settings = here().settings
    where = f"{settings.mail_server or 'localhost'}:{settings.mail_port}"
    with connected():
        merchant = Merchant.select().order_by(Merchant.id).first()
        letter = letters.trial_letter(
            shop=letters.Shop(name=merchant.name if merchant else "Vouchsafe"),
            to=address,
            message_id=mail.own_message_id(f"test.{secrets.token_hex(8)}"),
            locale=locale,
        )
        try:
            accepted = mail.post(letter)
            mail.note_line_works()
        except MailFailed as failed:
            said = f"{failed.code or ''} {failed.detail}".strip()
            raise click.ClickException(f"{where} said: {said}\n{_WHAT_TO_DO[failed.kind]}") from None
    click.echo(f"{where} took it: {accepted.reply}")
    click.echo(
        f"From {settings.sender} to {address}. Taken is not read: look into the mailbox, and into its spam folder."
    )


@mail_group.command("bounce")
@with_appcontext
def bounce() -> None:
    """Read one returned mail from standard input, as a mail server pipes it (alias: "|flask mail bounce")."""
    raw = sys.stdin.buffer.read(_LARGEST)
    try:
        with connected():
            outcome = bounces.receive(raw)
    except Exception as error:
        # The server keeps the mail and comes again: a database that rests a minute must not lose it.
        click.echo(f"not now: {type(error).__name__}", err=True)
        sys.exit(_TEMPORARY_FAILURE)
    click.echo(_SAID[outcome])
    if outcome == bounces.Outcome.EARLY:
        sys.exit(_TEMPORARY_FAILURE)


_SAID = {
    bounces.Outcome.NO_REPORT: "no delivery report; nothing was changed",
    bounces.Outcome.FOREIGN: "a report about a mail that is not ours; nothing was changed",
    bounces.Outcome.DISBELIEVED: "a report about an address that we did not write to; nothing was changed",
    bounces.Outcome.EARLY: "the mail is still under way; come again",
    bounces.Outcome.TOLD: "noted",
    bounces.Outcome.BOUNCED: "the mail came back; its order asks for another address",
}


@mail_group.command("collect")
@with_appcontext
def collect() -> None:
    """Read BOUNCE_MAILBOX once, as the worker does every minute; prints what was found as JSON."""
    if here().settings.bounce_mailbox is None:
        raise click.ClickException("BOUNCE_MAILBOX is not set: pop3s://user:password@host:995")
    with connected():
        try:
            click.echo(json.dumps(bounces.collect()))
        except (MailboxFailed, ValueError) as failed:
            raise click.ClickException(str(failed)) from None


COMMANDS = [mail_group]
