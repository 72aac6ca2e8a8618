"""Fixtures of the API's tests: a till and an office of Café Alba, vouchers, and limits that nobody has used up."""

from collections.abc import Iterator

import flask
import pytest
from flask.testing import FlaskClient

from models import Merchant, Voucher
from tests import cast as casting
from tests import till as tills
from tests.till import Counter, Scene, Sell


@pytest.fixture
def till(client: FlaskClient, merchant: Merchant) -> Counter:
    """A till of Café Alba: it validates and redeems."""
    return tills.opened(client, merchant)


@pytest.fixture
def office(client: FlaskClient, merchant: Merchant) -> Counter:
    """The office of Café Alba: it reads and writes."""
    return tills.opened(client, merchant, tills.OFFICE, name="Office")


@pytest.fixture
def sell(app: flask.Flask) -> Sell:
    """Issue a voucher of 50.00 and give back the voucher and its code as printed; further facts by name."""

    def issue(merchant: Merchant, value_minor: int = 5000, **facts: object) -> tuple[Voucher, str]:
        with app.app_context():
            return casting.issue(merchant, value_minor=value_minor, **facts)  # type: ignore[arg-type]

    return issue


@pytest.fixture
def scene(till: Counter, office: Counter, merchant: Merchant, sell: Sell) -> Scene:
    voucher, code = sell(merchant)
    return Scene(till, office, voucher, code, sell)


@pytest.fixture
def fresh_limits() -> Iterator[None]:
    """Nobody has guessed before, and nobody after has."""
    from blueprints import limits

    limits.limiter.reset()
    yield
    limits.limiter.reset()
