"""What one running twin consists of: its keys, its memory and its sender."""

from dataclasses import dataclass

from flask import Flask, current_app

from gateways.stripe_twin.delivery import Delivery
from gateways.stripe_twin.store import Store

_NAME = "stripe_twin"


@dataclass(frozen=True)
class Engine:
    """`public_url` is the twin's address in the buyer's browser, without a slash at its end."""

    store: Store
    delivery: Delivery
    secret_key: str
    public_url: str


def install(app: Flask, engine: Engine) -> None:
    """Give an app its engine."""
    app.extensions[_NAME] = engine


def of(app: Flask) -> Engine:
    """The engine of an app that `create_twin` made."""
    engine: Engine = app.extensions[_NAME]
    return engine


def current() -> Engine:
    """The engine of the request that is being answered."""
    return of(current_app)
