"""`flask merchant create`, `flask user create`."""

import secrets
from zoneinfo import available_timezones

import click
from flask.cli import with_appcontext

from blueprints import addresses
from database import connected, transaction
from domain import catalogue, money
from domain.states import Role
from effects.outside import here
from gateways import passwords
from models import Membership, Merchant, User


@click.group("merchant", help="The businesses that sell.")
def merchant_group() -> None: ...


@merchant_group.command("create")
@click.option("--slug", required=True, help="The shop's address: /s/<slug>")
@click.option("--name", required=True)
@click.option("--email", default="", help="Where buyers write to.")
@click.option("--phone", default="")
@click.option("--website", default="")
@click.option("--address", default="", help="Postal address; separate lines with \\n.")
@click.option("--country", default="AT", show_default=True, help="Two letters; sets the default validity.")
@click.option("--currency", default="EUR", show_default=True)
@click.option("--locale", default="de", show_default=True, type=click.Choice(["de", "en"]))
@click.option("--time-zone", default="Europe/Vienna", show_default=True)
@with_appcontext
def create_merchant(slug: str, country: str, currency: str, time_zone: str, **facts: str) -> None:
    """Create a merchant whose shop can sell at once: one offer, three designs."""
    _check(
        slug == slug.lower() and slug.replace("-", "").isalnum() and slug.isascii(), "--slug: a-z, 0-9 and dashes only"
    )
    _check(currency in money.CURRENCIES, f"--currency: {currency!r} is not an ISO 4217 code in capitals")
    _check(time_zone in available_timezones(), f"--time-zone: {time_zone!r} is not an IANA name")
    years, is_to_year_end = catalogue.usual_validity(country)
    facts["address"] = facts["address"].replace("\\n", "\n")
    with connected():
        _check(not Merchant.select().where(Merchant.slug == slug).exists(), f"--slug: {slug!r} is taken")
        with transaction():
            merchant = Merchant.create(
                slug=slug,
                country=country.upper(),
                currency=currency,
                time_zone=time_zone,
                validity_years=years,
                is_validity_to_year_end=is_to_year_end,
                **facts,
            )
            catalogue.stock_shop(merchant)
    click.echo(f"{here().settings.public_url}/s/{slug}")


@click.group("user", help="The people who sign in to the dashboard.")
def user_group() -> None: ...


@user_group.command("create")
@click.option("--email", required=True)
@click.option("--merchant", "merchant_slug", required=True, help="The slug of the merchant to work for.")
@click.option("--name", default="")
@click.option("--role", default="owner", show_default=True, type=click.Choice([role.value for role in Role]))
@click.option("--password", envvar="VOUCHSAFE_PASSWORD", help="Better from the environment; without one it is made up.")
@with_appcontext
def create_user(email: str, merchant_slug: str, name: str, role: str, password: str | None) -> None:
    """Create a user, or give a known one another merchant. A made-up password is printed once, alone on stdout."""
    email = _email(email)
    _check(password is None or len(password) >= 10, "--password: at least 10 characters")
    with connected():
        merchant = merchant_called(merchant_slug)
        known = User.get_or_none(User.email == email)
        chosen = password or secrets.token_urlsafe(12)
        with transaction():
            user = known or User.create(
                email=email,
                name=name,
                locale=merchant.locale,
                password_hash=passwords.hash(chosen),
                session_token=secrets.token_urlsafe(32),
            )
            Membership.insert(user=user, merchant=merchant, role=role).on_conflict_ignore().execute()
    click.echo(f"{email} may sign in as {role} of {merchant.name}", err=True)
    if known is None and password is None:
        click.echo(chosen)


def merchant_called(slug: str) -> Merchant:
    """The merchant with this slug. Raises click.BadParameter naming those that there are."""
    merchant = Merchant.get_or_none(Merchant.slug == slug)
    if merchant is None:
        known = ", ".join(row.slug for row in Merchant.select().order_by(Merchant.slug)) or "none yet"
        raise click.BadParameter(f"no merchant {slug!r}; there is: {known}")
    return merchant


def _email(text: str) -> str:
    address = addresses.read(text)
    if address is None:
        raise click.BadParameter(f"--email: {text!r} is not one plain address such as anna@example.com")
    return address.lower()


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise click.BadParameter(otherwise)


COMMANDS = [merchant_group, user_group]
