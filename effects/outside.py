"""The outside things of this process, built once from the settings."""

from collections.abc import Callable
from dataclasses import dataclass

import flask

from config import Settings
from gateways.document import Press
from gateways.mailer import Mailer
from gateways.stripe_checkout import StripeCheckout
from gateways.vault import Vault


@dataclass(frozen=True)
class Outside:
    """Stripe, the mail server, the printing press, the vault, and the door bell of the worker."""

    settings: Settings
    vault: Vault
    stripe: StripeCheckout
    mailer: Mailer
    press: Press
    ring: Callable[..., None]


def build(settings: Settings, *, ring: Callable[..., None]) -> Outside:
    """Everything outside for these settings; nothing is contacted yet.

    `ring` wakes the worker for an order's id, or with `task="batch"` for a batch's.
    """
    password = settings.mail_password.get_secret_value() if settings.mail_password else ""
    return Outside(
        settings=settings,
        vault=Vault(settings.vault_keys),
        stripe=StripeCheckout(
            settings.stripe_key, webhook_secrets=settings.webhook_secrets, api_base=settings.stripe_base
        ),
        mailer=Mailer(
            settings.mail_server,
            settings.mail_port,
            use_tls=settings.mail_use_tls,
            use_ssl=settings.mail_use_ssl,
            username=settings.mail_username,
            password=password,
            sender=settings.sender,
            ca_file=settings.mail_ca_file or None,
        ),
        press=Press(),
        ring=ring,
    )


def here() -> Outside:
    """The outside of the running app."""
    return flask.current_app.extensions["outside"]
