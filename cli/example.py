"""The example shops: Café Alba with something in every state, and Hotel Berg beside it."""

import secrets
from dataclasses import dataclass
from datetime import timedelta

from database import transaction
from domain import catalogue, checkout, clock, entries, fulfilment, ledger
from domain.states import Role, StepName, VoucherStatus, VoucherType
from effects import voucher, work
from gateways import passwords, vault
from models import Membership, Merchant, Order, Payment, User, Voucher

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
    _vouchers_in_every_state(alba)
    _order_stuck_at_mail(alba)
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
    _voucher(merchant, 10000, taken=3450)
    _voucher(merchant, 2500, taken=2500)
    _voucher(merchant, 7500, expired_days_ago=20)
    # The verbs that block, cancel and activate come with the dashboard's voucher page; here the states just stand.
    for status in (VoucherStatus.PENDING, VoucherStatus.SUSPENDED, VoucherStatus.CANCELLED):
        issued = _voucher(merchant, 4000)
        with transaction():
            Voucher.update(status=status).where(Voucher.id == issued.id).execute()


def _voucher(merchant: Merchant, minor: int, *, taken: int = 0, expired_days_ago: int = 0) -> Voucher:
    key = secrets.token_hex(8)
    with transaction():
        issued = ledger.issue(
            merchant,
            value_minor=minor,
            currency=merchant.currency,
            code=voucher.mint(merchant),
            operation_key=f"issue:example:{key}",
            actor="example",
            type=VoucherType.GIFT_CARD,
            is_test=True,
        )
        if taken:
            till = entries.Till(reference="R-1042", location="Wien", terminal="Bar")
            ledger.redeem(
                issued.id,
                amount_minor=taken,
                currency=merchant.currency,
                operation_key=f"redeem:example:{key}",
                actor="example",
                till=till,
            )
        if expired_days_ago:
            ended = clock.now() - timedelta(days=expired_days_ago)
            Voucher.update(expires_at=ended).where(Voucher.id == issued.id).execute()
    return issued


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
