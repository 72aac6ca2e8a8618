"""The example shops: Café Alba with something in every state, and Hotel Berg beside it."""

import secrets
from dataclasses import dataclass
from datetime import timedelta

from cli import example_payments
from database import transaction
from domain import catalogue, checkout, clock, entries, fulfilment, holds, ledger, vouchers
from domain.states import Role, StepName, VoucherStatus, VoucherType
from effects import voucher, work
from gateways import passwords, vault
from models import Entry, Membership, Merchant, Order, Payment, User, Voucher

SLUG = "cafe-alba"
EMAIL = "anna@cafe-alba.example"
PASSWORD = "alba-demo-2026"  # noqa: S105 – of the demo, printed on its start


@dataclass(frozen=True)
class _Paid:
    """A session as Stripe would report it, for orders that were paid before the story begins."""

    id: str
    amount_total_minor: int
    currency: str
    reference: str
    status: str = "complete"
    payment_status: str = "paid"
    is_live: bool = False
    account: str = ""
    payment_intent_id: str | None = None
    method: str | None = "card"
    has_failed: bool = False


def fill() -> None:
    """Write both shops. Only for an empty test database."""
    alba = _shop(
        slug=SLUG,
        name="Café Alba",
        address="Lindengasse 12\n1070 Wien",
        email="hallo@cafe-alba.example",
        phone="+43 1 555 01 20",
        website="cafe-alba.example",
        accent="#8a2c4b",
        how_to_redeem="Im Café vorzeigen, vor dem Bezahlen.\nAuch in Teilen einlösbar, der Rest bleibt gutgeschrieben.",
    )
    _shop(
        slug="hotel-berg",
        name="Hotel Berg",
        address="Bergstraße 3\n5020 Salzburg",
        email="rezeption@hotel-berg.example",
        phone="+43 662 555 03 30",
        website="hotel-berg.example",
        accent="#2f5d50",
        how_to_redeem="Bei der Buchung angeben oder an der Rezeption vorzeigen.",
    )
    _person(EMAIL, "Anna Leitner", alba, Role.OWNER)
    _person("ben@cafe-alba.example", "Ben Moser", alba, Role.STAFF)
    alba = example_payments.connect(alba)
    _vouchers_in_every_state(alba)
    _order_stuck_at_mail(alba)
    example_payments.refund_in_part(_order(alba, buyer_email="nora@example.com", recipient="", minor=6000), minor=2000)
    example_payments.dispute(_order(alba, buyer_email="k.huber@example.com", recipient="", minor=10000))
    example_payments.hold(_order(alba, buyer_email="jana@example.com", recipient="", minor=5000), minor=500)
    _order(alba, buyer_email="paul@example.com", recipient="", minor=2500)  # waits for its payment


def _shop(**facts: str) -> Merchant:
    imprint = f"{facts['name']}\n{facts['address']}\n{facts['phone']}\n{facts['email']}"
    with transaction():
        merchant = Merchant.create(
            **facts,
            imprint=imprint,
            terms="Der Gutschein gilt 30 Jahre ab Kauf und ist in Teilen einlösbar. Keine Barauszahlung.",
            privacy="Wir speichern Namen, E-Mail-Adressen und den Text des Gutscheins, um ihn zu liefern.",
        )
        catalogue.stock_shop(merchant)
    return merchant


def _person(email: str, name: str, merchant: Merchant, role: Role) -> None:
    with transaction():
        user = User.create(
            email=email,
            name=name,
            locale=merchant.locale,
            password_hash=passwords.hash(PASSWORD),
            session_token=secrets.token_urlsafe(32),
        )
        Membership.create(user=user, merchant=merchant, role=role)


def _vouchers_in_every_state(merchant: Merchant) -> None:
    _voucher(merchant, 5000)
    _redeemed(_voucher(merchant, 10000), minor=3450)
    _redeemed(_voucher(merchant, 2500), minor=2500)
    _voucher(merchant, 7500, expired_days_ago=20)
    _voucher(merchant, 4000, status=VoucherStatus.PENDING)
    _moved(_voucher(merchant, 4000), VoucherStatus.SUSPENDED, reason="als verloren gemeldet")
    _moved(_voucher(merchant, 4000), VoucherStatus.CANCELLED, reason="Kauf widerrufen")
    _held(_voucher(merchant, 9000), minor=4000)
    _refunded(_voucher(merchant, 8000), redeemed_minor=3000, back_minor=1200)
    _reversed(_voucher(merchant, 6000), redeemed_minor=4500)


def _voucher(
    merchant: Merchant, minor: int, *, status: VoucherStatus = VoucherStatus.ACTIVE, expired_days_ago: int = 0
) -> Voucher:
    with transaction():
        return ledger.issue(
            merchant,
            value_minor=minor,
            currency=merchant.currency,
            code=voucher.mint(merchant),
            operation_key=_key("issue"),
            actor="example",
            type=VoucherType.GIFT_CARD,
            status=status,
            expires_at=clock.now() - timedelta(days=expired_days_ago) if expired_days_ago else None,
            is_test=True,
        )


def _moved(issued: Voucher, status: VoucherStatus, *, reason: str) -> None:
    with transaction():
        vouchers.set_status(issued.id, status, actor="example", reason=reason)


def _redeemed(issued: Voucher, *, minor: int) -> Entry:
    with transaction():
        return ledger.redeem(
            issued.id,
            amount_minor=minor,
            currency=issued.currency,
            operation_key=_key("redeem"),
            actor="example",
            till=entries.Till(reference="R-1042", location="Wien", terminal="Bar"),
        ).entry


def _held(issued: Voucher, *, minor: int) -> None:
    with transaction():
        holds.place(
            issued.id,
            amount_minor=minor,
            currency=issued.currency,
            operation_key=_key("hold"),
            actor="example",
            life=holds.LONGEST_LIFE,
            till=entries.Till(reference="Tisch 7", location="Wien", terminal="Bar"),
        )


def _refunded(issued: Voucher, *, redeemed_minor: int, back_minor: int) -> None:
    taken = _redeemed(issued, minor=redeemed_minor)
    with transaction():
        ledger.refund(
            taken, amount_minor=back_minor, operation_key=_key("refund"), actor="example", reason="Dessert war aus"
        )


def _reversed(issued: Voucher, *, redeemed_minor: int) -> None:
    taken = _redeemed(issued, minor=redeemed_minor)
    with transaction():
        ledger.reverse(taken, operation_key=_key("reverse"), actor="example", reason="Rechnung storniert")


def _key(verb: str) -> str:
    return f"{verb}:example:{secrets.token_hex(8)}"


def _order_stuck_at_mail(merchant: Merchant) -> None:
    order = _order(merchant, buyer_email="lukas@example.com", recipient="marie@example.invalid", minor=8000)
    payment = checkout.open_payment(order, is_live=False)
    session_id = f"cs_test_{secrets.token_hex(16)}"
    checkout.attach_session(payment, session_id=session_id, url=None)
    report = _Paid(session_id, order.total_minor, order.currency, order.ref)
    checkout.settle(Payment.get_by_id(payment.id), report, source=checkout.Source.WEBHOOK)
    while (step := fulfilment.claim("example", order_id=order.id)) is not None:
        if step.name == StepName.DELIVER_RECIPIENT:
            detail = "550 5.1.1 <marie@example.invalid>: mailbox does not exist"
            fulfilment.fail(step, fulfilment.Failure("bad_address", detail, is_permanent=True))
        else:
            work.perform(step)


def _order(merchant: Merchant, *, buyer_email: str, recipient: str, minor: int) -> Order:
    offer, design = merchant.offers.first(), merchant.designs.first()
    unit = checkout.UnitWish(
        offer=offer,
        design=design,
        value_minor=minor,
        recipient_name="Marie" if recipient else "",
        recipient_email=recipient,
        message="Alles Liebe zum Geburtstag!\nBis bald auf einen Kaffee." if recipient else "",
    )
    wish = checkout.Wish(
        buyer_name="Lukas" if recipient else "", buyer_email=buyer_email, locale="de", units=[unit], nonce=buyer_email
    )
    return checkout.place(merchant, wish, ref=vault.new_order_ref(), is_test=True)
