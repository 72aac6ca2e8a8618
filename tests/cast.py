"""The cast: Café Alba with owner Anna and staff Ben, and Hotel Berg with owner Carla, a stranger to Alba."""

import secrets
from dataclasses import dataclass
from typing import Any

import database
from domain import catalogue, checkout, holds, ledger, vouchers
from domain.states import Role, VoucherStatus
from effects import voucher
from gateways import passwords, vault
from models import Hold, Membership, Merchant, Order, User, Voucher

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


def issue(
    seller: Merchant, *, value_minor: int = 5000, held_minor: int = 0, code: str | None = None, **facts: Any
) -> tuple[Voucher, str]:
    """A voucher without an order, active unless `facts` say otherwise, and its code in groups.

    `facts` are those of `ledger.issue`; `held_minor` is set aside by a hold.
    """
    operation, given = secrets.token_hex(8), {"currency": seller.currency, "actor": "shop", "is_test": True} | facts
    with database.transaction():
        row = ledger.issue(
            seller,
            value_minor=value_minor,
            code=voucher.mint(seller, code),
            operation_key=f"issue:{operation}",
            **given,
        )
    if held_minor:
        hold(row, held_minor)
    row = Voucher.get_by_id(row.id)
    return row, voucher.read_code(row)


def hold(row: Voucher, amount_minor: int, **options: Any) -> Hold:
    """Set money of a voucher aside."""
    chosen = {"currency": row.currency, "operation_key": f"hold:{secrets.token_hex(8)}", "actor": "test"} | options
    with database.transaction():
        return holds.place(row.id, amount_minor=amount_minor, **chosen).hold


def set_status(row: Voucher, status: VoucherStatus | str) -> None:
    """Block, unblock, activate or cancel a voucher."""
    with database.transaction():
        vouchers.set_status(row.id, VoucherStatus(status), actor="test")
