"""The cast: Café Alba with owner Anna and staff Ben, and Hotel Berg with owner Carla, a stranger to Alba."""

import secrets
from dataclasses import dataclass

from domain import catalogue, checkout
from domain.states import Role
from effects import voucher
from gateways import passwords, vault
from models import Membership, Merchant, Order, User, Voucher

PASSWORD = "correct horse battery"
# One hash for the whole run: Argon2id is slow on purpose.
_HASH = passwords.hash(PASSWORD)


@dataclass(frozen=True)
class Cast:
    """Everybody, freshly written into the test's database."""

    alba: Merchant
    berg: Merchant
    anna: User
    ben: User
    carla: User


def write() -> Cast:
    """Two merchants with stocked shops and their three people."""
    alba = merchant("cafe-alba", "Café Alba")
    berg = merchant("hotel-berg", "Hotel Berg")
    return Cast(
        alba=alba,
        berg=berg,
        anna=person("anna@alba.example", alba, Role.OWNER),
        ben=person("ben@alba.example", alba, Role.STAFF),
        carla=person("carla@berg.example", berg, Role.OWNER),
    )


def merchant(slug: str, name: str) -> Merchant:
    """A merchant with an address and a stocked shop."""
    row = Merchant.create(
        slug=slug, name=name, address="Lindengasse 12\n1070 Wien", email=f"hallo@{slug}.example", phone="+43 1 555 01"
    )
    catalogue.stock_shop(row)
    return row


def person(email: str, employer: Merchant, role: Role) -> User:
    """Somebody who signs in with PASSWORD."""
    user = User.create(
        email=email,
        name=email.partition("@")[0].title(),
        password_hash=_HASH,
        session_token=secrets.token_urlsafe(32),
        locale="en",
    )
    Membership.create(user=user, merchant=employer, role=role)
    return user


def place(seller: Merchant, *recipients: str, value_minor: int = 5000, **facts: object) -> Order:
    """An unpaid order with one unit for each recipient; an empty recipient means that the buyer gets it."""
    offer, design = seller.offers.first(), seller.designs.first()
    units = [
        checkout.UnitWish(
            offer=offer,
            design=design,
            value_minor=value_minor,
            recipient_email=email,
            recipient_name=email.partition("@")[0].title(),
            message="Alles Liebe!" if email else "",
        )
        for email in (recipients or ("",))
    ]
    values: dict[str, object] = {"buyer_name": "Lukas", "buyer_email": "lukas@example.com", "locale": "de"} | facts
    wish = checkout.Wish(units=units, nonce=secrets.token_hex(8), **values)  # type: ignore[arg-type]
    return checkout.place(seller, wish, ref=vault.new_order_ref(), is_test=True)


def issue(seller: Merchant, *, value_minor: int = 5000, **facts: object) -> tuple[Voucher, str]:
    """An active voucher without an order, and its code in groups. `facts` are written onto the row."""
    from database import transaction
    from domain import ledger

    with transaction():
        row = ledger.issue(
            seller,
            value_minor=value_minor,
            currency=seller.currency,
            code=voucher.mint(seller),
            operation_key=f"issue:{secrets.token_hex(8)}",
            actor="test",
            is_test=True,
        )
        if facts:
            Voucher.update(**facts).where(Voucher.id == row.id).execute()
    row = Voucher.get_by_id(row.id)
    return row, voucher.read_code(row)
