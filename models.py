"""Every table: columns, keys, one-line facts and named selects. The rules that write them live in domain/.

`*_minor` is money in minor units, `*_at` a moment in UTC, `*_on` a date. CHECKs and triggers are in migrations/.
"""

import re
from datetime import datetime
from typing import Self

import peewee
from peewee import (
    BigIntegerField,
    BlobField,
    BooleanField,
    CharField,
    ForeignKeyField,
    IntegerField,
    JSONField,
    TextField,
)

from database import MomentField, db
from domain import clock
from domain.states import (
    MAILS,
    BatchState,
    ConnectionState,
    DisputeState,
    EntryKind,
    HoldState,
    NoticeState,
    PaymentState,
    RefundState,
    Role,
    RowState,
    ShownStatus,
    StepState,
    TaxClass,
    VoucherStatus,
    VoucherType,
)


def _table_name(model: type[peewee.Model]) -> str:
    """`TimelineEntry` → `timeline_entries`, `Batch` → `batches`: tables are plural."""
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", model.__name__).lower()
    if words.endswith("ry"):
        return f"{words.removesuffix('y')}ies"
    return f"{words}es" if words.endswith("ch") else f"{words}s"


class Table(peewee.Model):
    """What every table shares: the database and an integer key."""

    id = peewee.AutoField()

    class Meta:
        database = db
        table_function = _table_name


class Merchant(Table):
    slug = CharField(unique=True)
    name = CharField()
    address = TextField(default="")
    email = CharField(default="")
    phone = CharField(default="")
    website = CharField(default="")
    country = CharField(default="AT")
    currency = CharField(default="EUR")
    locale = CharField(default="de")
    time_zone = CharField(default="Europe/Vienna")
    accent = CharField(default="#8a2c4b")
    validity_years = IntegerField(null=True, default=30)
    is_validity_to_year_end = BooleanField(default=False)
    how_to_redeem = TextField(default="")
    imprint = TextField(default="")
    terms = TextField(default="")
    privacy = TextField(default="")
    stripe_account = CharField(default="")
    is_open = BooleanField(default=True)
    order_count = IntegerField(default=0)
    created_at = MomentField(default=clock.now)

    @property
    def address_lines(self) -> tuple[str, ...]:
        return tuple(line for line in self.address.splitlines() if line.strip())

    @property
    def contact(self) -> tuple[str, ...]:
        return tuple(way for way in (self.phone, self.email, self.website) if way)

    @property
    def orders(self) -> "peewee.ModelSelect[Order]":
        return Order.select().where(Order.merchant == self)

    @property
    def vouchers(self) -> "peewee.ModelSelect[Voucher]":
        return Voucher.select().where(Voucher.merchant == self)

    @property
    def offers(self) -> "peewee.ModelSelect[Offer]":
        return Offer.select().where(Offer.merchant == self, Offer.is_active).order_by(Offer.position, Offer.id)

    @property
    def designs(self) -> "peewee.ModelSelect[Design]":
        return Design.select().where(Design.merchant == self, Design.is_active).order_by(Design.position, Design.id)


class User(Table):
    """A person who signs in; the three properties at the end are what Flask-Login asks for."""

    email = CharField(unique=True)
    name = CharField(default="")
    password_hash = CharField()
    session_token = CharField(unique=True)
    locale = CharField(default="de")
    is_active = BooleanField(default=True)
    created_at = MomentField(default=clock.now)

    is_authenticated = True
    is_anonymous = False

    def get_id(self) -> str:
        return self.session_token  # rotated at log-out, so an old cookie opens nothing

    @property
    def merchants(self) -> "peewee.ModelSelect[Merchant]":
        return Merchant.select().join(Membership).where(Membership.user == self).order_by(Merchant.name)


class Membership(Table):
    user = ForeignKeyField(User, backref="memberships")
    merchant = ForeignKeyField(Merchant, backref="memberships")
    merchant_id: int
    role = CharField(choices=[(role.value, role.value) for role in Role])

    class Meta:
        indexes = ((("user", "merchant"), True),)


class Offer(Table):
    merchant = ForeignKeyField(Merchant)
    merchant_id: int
    slug = CharField()
    title = CharField()
    description = TextField(default="")
    values_minor = JSONField(default=list)
    min_minor = BigIntegerField(null=True)
    max_minor = BigIntegerField(null=True)
    tax_class = CharField(default=TaxClass.MULTI_PURPOSE)
    position = IntegerField(default=0)
    is_active = BooleanField(default=True)

    class Meta:
        indexes = ((("merchant", "slug"), True),)

    @property
    def has_free_amount(self) -> bool:
        return self.min_minor is not None and self.max_minor is not None


class Design(Table):
    merchant = ForeignKeyField(Merchant)
    merchant_id: int
    slug = CharField()
    name = CharField()
    layout = CharField(default="classic")
    accent = CharField(default="#8a2c4b")
    position = IntegerField(default=0)
    is_active = BooleanField(default=True)

    class Meta:
        indexes = ((("merchant", "slug"), True),)


class Order(Table):
    merchant = ForeignKeyField(Merchant)
    merchant_id: int
    ref = CharField(unique=True)
    number = CharField()
    place_key = CharField()
    payment_state = CharField(default=PaymentState.OPEN)
    buyer_name = CharField(default="")
    buyer_email = CharField()
    locale = CharField()
    currency = CharField()
    total_minor = BigIntegerField()
    is_test = BooleanField()
    created_at = MomentField(default=clock.now)
    paid_at = MomentField(null=True)

    class Meta:
        indexes = (
            (("merchant", "number"), True),
            (("merchant", "place_key"), True),
            (("merchant", "created_at"), False),
        )

    @property
    def units(self) -> "peewee.ModelSelect[Unit]":
        return Unit.select().where(Unit.order == self).order_by(Unit.unit_no)

    @property
    def steps(self) -> "peewee.ModelSelect[Step]":
        return Step.select().where(Step.order == self).order_by(Step.unit_no, Step.id)

    @property
    def payments(self) -> "peewee.ModelSelect[Payment]":
        return Payment.select().where(Payment.order == self).order_by(Payment.attempt)

    @property
    def latest_payment(self) -> "Payment | None":
        return Payment.select().where(Payment.order == self).order_by(Payment.attempt.desc()).first()

    @property
    def timeline(self) -> "peewee.ModelSelect[TimelineEntry]":
        return TimelineEntry.select().where(TimelineEntry.order == self).order_by(TimelineEntry.id.desc())

    @property
    def refunds(self) -> "peewee.ModelSelect[Refund]":
        return Refund.select().where(Refund.order == self).order_by(Refund.id)

    @property
    def disputes(self) -> "peewee.ModelSelect[Dispute]":
        return Dispute.select().where(Dispute.order == self).order_by(Dispute.id)

    @property
    def vouchers(self) -> "peewee.ModelSelect[Voucher]":
        """Its vouchers in the order of their keys: the order in which several are locked."""
        return Voucher.select().join(Unit).where(Unit.order == self).order_by(Voucher.id)

    @property
    def is_paid(self) -> bool:
        return self.payment_state == PaymentState.PAID


class Unit(Table):
    """One voucher of an order, frozen as it was bought."""

    order = ForeignKeyField(Order)
    order_id: int
    unit_no = IntegerField()
    offer = ForeignKeyField(Offer)
    design = ForeignKeyField(Design)
    title = CharField(default="")
    layout = CharField()
    accent = CharField()
    value_minor = BigIntegerField()
    currency = CharField()
    tax_class = CharField()
    validity_years = IntegerField(null=True)
    is_validity_to_year_end = BooleanField()
    recipient_name = CharField(default="")
    recipient_email = CharField(default="")
    message = TextField(default="")
    deliver_at = MomentField(null=True)

    class Meta:
        indexes = ((("order", "unit_no"), True),)

    @property
    def voucher(self) -> "Voucher | None":
        return Voucher.get_or_none(Voucher.unit == self)


class Payment(Table):
    """One Checkout session of an order."""

    order = ForeignKeyField(Order)
    order_id: int
    merchant = ForeignKeyField(Merchant)
    merchant_id: int
    attempt = IntegerField()
    account = CharField(default="")
    idempotency_key = CharField(unique=True)
    session_id = CharField(null=True)
    payment_intent_id = CharField(null=True)
    url = TextField(null=True)
    state = CharField(default=PaymentState.OPEN)
    amount_minor = BigIntegerField()
    currency = CharField()
    is_live = BooleanField()
    method = CharField(null=True)
    checks = IntegerField(default=0)
    next_check_at = MomentField(null=True)
    asked_at = MomentField(null=True)
    created_at = MomentField(default=clock.now)
    expires_at = MomentField()
    paid_at = MomentField(null=True)
    # What Stripe reported when the payment arrived, and where that is not what was asked for.
    received_minor = BigIntegerField(null=True)
    received_currency = CharField(null=True)
    differences = JSONField(null=True)

    class Meta:
        indexes = (
            (("order", "attempt"), True),
            (("account", "session_id"), True),
            (("state", "next_check_at"), False),
            (("payment_intent_id",), False),
        )


class Refund(Table):
    """Money that goes back to a buyer. Written by domain/refunds.py alone."""

    public_id = CharField(unique=True)
    merchant = ForeignKeyField(Merchant)
    merchant_id: int
    order = ForeignKeyField(Order)
    order_id: int
    payment = ForeignKeyField(Payment)
    payment_id: int
    account = CharField(default="")
    refund_id = CharField(null=True)
    origin = CharField()
    state = CharField(default=RefundState.ASKED)
    amount_minor = BigIntegerField()
    currency = CharField()
    # Unit number → what of it is the price of that voucher, for one from our dashboard.
    parts = JSONField(default=dict)
    actor = CharField()
    reason = TextField(default="")
    failure = TextField(null=True)
    checks = IntegerField(default=0)
    next_check_at = MomentField(null=True)
    created_at = MomentField(default=clock.now)
    ended_at = MomentField(null=True)
    # One from Stripe's dashboard asks a person what becomes of the vouchers.
    decided_at = MomentField(null=True)

    class Meta:
        indexes = (
            (("account", "refund_id"), True),
            (("order",), False),
            (("state", "next_check_at"), False),
            (("merchant", "decided_at"), False),
        )


class Dispute(Table):
    """A payment that somebody contests: dispute, inquiry or fraud warning. Written by domain/disputes.py alone."""

    merchant = ForeignKeyField(Merchant)
    merchant_id: int
    order = ForeignKeyField(Order)
    order_id: int
    payment = ForeignKeyField(Payment)
    payment_id: int
    account = CharField(default="")
    dispute_id = CharField()
    kind = CharField()
    state = CharField(default=DisputeState.OPEN)
    status = CharField()
    reason = CharField(default="")
    amount_minor = BigIntegerField()
    currency = CharField()
    # What had been spent of the vouchers when the dispute was lost: the merchant's loss.
    spent_minor = BigIntegerField(null=True)
    respond_by = MomentField(null=True)
    opened_at = MomentField()
    closed_at = MomentField(null=True)

    class Meta:
        indexes = ((("account", "dispute_id"), True), (("order",), False), (("merchant", "state"), False))


class Voucher(Table):
    public_id = CharField(unique=True)
    merchant = ForeignKeyField(Merchant)
    merchant_id: int
    unit = ForeignKeyField(Unit, null=True, unique=True)
    unit_id: int | None
    type = CharField(default=VoucherType.GIFT_CARD)
    currency = CharField()
    balance_minor = BigIntegerField(default=0)
    held_minor = BigIntegerField(default=0)
    version = IntegerField(default=0)
    status = CharField(default=VoucherStatus.ACTIVE)
    # Suspended by its payment's trouble and by nobody's hand: it thaws when the trouble is over.
    is_frozen = BooleanField(default=False)
    valid_from = MomentField(null=True)
    expires_at = MomentField(null=True)
    is_transferable = BooleanField(default=True)
    customer_id = CharField(null=True)
    metadata = JSONField(default=dict)
    code_hmac = CharField()
    code_ciphertext = BlobField()
    code_key_id = CharField()
    code_last4 = CharField()
    link_hash = CharField(unique=True)
    is_test = BooleanField()
    created_at = MomentField(default=clock.now)

    class Meta:
        indexes = ((("merchant", "code_hmac"), True), (("merchant", "created_at"), False))

    @property
    def entries(self) -> "peewee.ModelSelect[Entry]":
        return Entry.select().where(Entry.voucher == self).order_by(Entry.seq.desc())

    @property
    def issue(self) -> "Entry":
        return Entry.get(Entry.voucher == self, Entry.kind == EntryKind.ISSUE)

    @property
    def order(self) -> Order | None:
        """The order that it was bought in; None for one that was made by hand."""
        return self.unit.order if self.unit_id is not None else None

    @property
    def available_minor(self) -> int:
        return self.balance_minor - self.held_minor

    def is_expired(self, at: datetime) -> bool:
        return self.expires_at is not None and at > self.expires_at

    def shown_status(self, at: datetime) -> ShownStatus:
        """One of the six: what is stored, or `expired` and `depleted` found from the facts."""
        if self.status != VoucherStatus.ACTIVE:
            return ShownStatus(self.status)
        if self.is_expired(at):
            return ShownStatus.EXPIRED
        return ShownStatus.DEPLETED if self.balance_minor == 0 else ShownStatus.ACTIVE

    @classmethod
    def is_shown_as(cls, status: str, at: datetime) -> peewee.Expression:
        """The condition of a query that `shown_status` states of a row."""
        if status not in (ShownStatus.ACTIVE, ShownStatus.DEPLETED, ShownStatus.EXPIRED):
            return cls.status == status
        is_over = cls.expires_at.is_null(False) & (cls.expires_at < at)
        is_active = cls.status == VoucherStatus.ACTIVE
        if status == ShownStatus.EXPIRED:
            return is_active & is_over
        lasts = is_active & (cls.expires_at.is_null() | (cls.expires_at >= at))
        return lasts & (cls.balance_minor == 0 if status == ShownStatus.DEPLETED else cls.balance_minor > 0)


class Hold(Table):
    """Money set aside for one bill. Written by domain/holds.py alone; triggers keep `held_minor` equal to their sum."""

    public_id = CharField(unique=True)
    voucher = ForeignKeyField(Voucher)
    voucher_id: int
    merchant = ForeignKeyField(Merchant)
    merchant_id: int
    amount_minor = BigIntegerField()
    state = CharField(default=HoldState.ACTIVE)
    operation_key = CharField()
    actor = CharField()
    reference = CharField(null=True)
    location = CharField(null=True)
    terminal = CharField(null=True)
    description = TextField(null=True)
    created_at = MomentField()
    expires_at = MomentField()
    ended_at = MomentField(null=True)

    class Meta:
        indexes = ((("merchant", "operation_key"), True), (("voucher", "state"), False))

    def shown_state(self, at: datetime) -> HoldState:
        """What is stored, or `expired` for an active one whose time is over."""
        is_over = self.state == HoldState.ACTIVE and at >= self.expires_at
        return HoldState.EXPIRED if is_over else HoldState(self.state)


class Entry(Table):
    """One change of one balance. Never updated, never deleted; written by domain/entries.py alone."""

    public_id = CharField(unique=True)
    voucher = ForeignKeyField(Voucher)
    voucher_id: int
    merchant = ForeignKeyField(Merchant)
    merchant_id: int
    seq = IntegerField()
    kind = CharField()
    amount_minor = BigIntegerField()
    balance_after_minor = BigIntegerField()
    currency = CharField()
    redemption = ForeignKeyField("self", null=True)
    operation_key = CharField()
    actor = CharField()
    reason = TextField(default="")
    reference = CharField(null=True)
    location = CharField(null=True)
    terminal = CharField(null=True)
    description = TextField(null=True)
    created_at = MomentField()
    previous_hash = CharField()
    hash = CharField()
    hold = ForeignKeyField(Hold, null=True, unique=True)
    hold_id: int | None

    class Meta:
        indexes = (
            (("voucher", "seq"), True),
            (("merchant", "operation_key"), True),
            (("merchant", "created_at"), False),
        )


class Batch(Table):
    """Many vouchers of one merchant at once: a dry run for people, then rows that a worker takes in order."""

    public_id = CharField(unique=True)
    merchant = ForeignKeyField(Merchant)
    merchant_id: int
    kind = CharField()
    state = CharField(default=BatchState.DRAFT)
    name = CharField()
    currency = CharField()
    type = CharField(default=VoucherType.GIFT_CARD)
    is_test = BooleanField()
    actor = CharField()
    token = IntegerField(default=0)
    lease_until = MomentField(null=True)
    liability_before_minor = BigIntegerField(null=True)
    liability_after_minor = BigIntegerField(null=True)
    created_at = MomentField(default=clock.now)
    started_at = MomentField(null=True)
    finished_at = MomentField(null=True)

    class Meta:
        indexes = ((("merchant", "created_at"), False), (("state", "lease_until"), False))

    @property
    def rows(self) -> "peewee.ModelSelect[BatchRow]":
        return BatchRow.select().where(BatchRow.batch == self).order_by(BatchRow.row_no)


class BatchRow(Table):
    """One line of a batch. `sealed` is the line as it was sent, codes and all, so a stolen database reads none."""

    batch = ForeignKeyField(Batch)
    batch_id: int
    row_no = IntegerField()
    state = CharField(default=RowState.WAITING)
    value_minor = BigIntegerField(null=True)
    expires_at = MomentField(null=True)
    customer_id = CharField(null=True)
    reference = CharField(null=True)
    key_id = CharField()
    sealed = BlobField()
    code_hmac = CharField(null=True)
    problem = CharField(null=True)
    detail = TextField(null=True)
    voucher = ForeignKeyField(Voucher, null=True, unique=True)
    voucher_id: int | None

    class Meta:
        indexes = ((("batch", "row_no"), True), (("batch", "state", "row_no"), False))


class VoucherPdf(Table):
    """The PDF as it was checked and mailed, sealed: it shows the code, and a stolen database must not."""

    voucher = ForeignKeyField(Voucher, unique=True)
    voucher_id: int
    sha256 = CharField()
    size = IntegerField()
    key_id = CharField()
    sealed = BlobField()
    created_at = MomentField(default=clock.now)


class Step(Table):
    """One piece of work for an order, the truth behind the queue. `unit_no` 0 stands for the whole order."""

    order = ForeignKeyField(Order)
    order_id: int
    unit_no = IntegerField()
    name = CharField()
    needs = CharField(null=True)
    epoch = IntegerField(default=1)
    state = CharField()
    attempt = IntegerField(default=0)
    token = IntegerField(default=0)
    worker = CharField(null=True)
    not_before = MomentField()
    lease_until = MomentField(null=True)
    first_failed_at = MomentField(null=True)
    send_started_at = MomentField(null=True)
    started_at = MomentField(null=True)
    finished_at = MomentField(null=True)
    message_id = CharField(null=True)
    error_code = CharField(null=True)
    error_text = TextField(null=True)

    class Meta:
        indexes = ((("order", "unit_no", "name", "epoch"), True), (("state", "not_before"), False))

    @property
    def unit(self) -> Unit:
        return Unit.get(Unit.order == self.order_id, Unit.unit_no == self.unit_no)

    @property
    def is_mail(self) -> bool:
        return self.name in MAILS

    def is_planned(self, at: datetime) -> bool:
        """Its moment was chosen and is still to come."""
        return self.state in (StepState.READY, StepState.BLOCKED) and self.not_before > at


class StepAttempt(Table):
    step = ForeignKeyField(Step, backref="attempts")
    step_id: int
    attempt = IntegerField()
    token = IntegerField()
    worker = CharField()
    started_at = MomentField()
    ended_at = MomentField(null=True)
    outcome = CharField(null=True)
    code = CharField(null=True)
    detail = TextField(null=True)

    class Meta:
        indexes = ((("step", "token"), True),)


class TimelineEntry(Table):
    """What happened, for people. Append-only; `kind` and `facts` become a sentence in the reader's language."""

    merchant = ForeignKeyField(Merchant)
    merchant_id: int
    order = ForeignKeyField(Order, null=True)
    order_id: int | None
    voucher = ForeignKeyField(Voucher, null=True)
    voucher_id: int | None
    kind = CharField()
    facts = JSONField(default=dict)
    actor = CharField(default="system")
    created_at = MomentField(default=clock.now)


class ApiKey(Table):
    merchant = ForeignKeyField(Merchant)
    merchant_id: int
    key_id = CharField(unique=True)
    name = CharField()
    secret_hash = CharField()
    scopes = JSONField()
    terminal = CharField(null=True)
    location = CharField(null=True)
    is_test = BooleanField()
    created_at = MomentField(default=clock.now)
    last_used_at = MomentField(null=True)
    expires_at = MomentField(null=True)
    revoked_at = MomentField(null=True)

    def is_usable(self, at: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


class IdempotencyRecord(Table):
    """A caller's key with the answer it got, for ever. A tombstone stands for a call that must never be booked."""

    TOMBSTONE = "tombstone"

    merchant = ForeignKeyField(Merchant)
    merchant_id: int
    key = CharField()
    route = CharField()
    fingerprint = CharField()
    status = IntegerField(null=True)
    body = TextField(null=True)
    created_at = MomentField(default=clock.now)

    class Meta:
        primary_key = peewee.CompositeKey("merchant", "key")

    @property
    def is_tombstone(self) -> bool:
        return self.route == self.TOMBSTONE


class StripeEvent(Table):
    account = CharField()
    event_id = CharField()
    type = CharField()
    session_id = CharField(null=True)
    is_live = BooleanField()
    received_at = MomentField(default=clock.now)
    outcome = CharField(null=True)
    subject_id = CharField(null=True)
    # `webhook`, or `list` for one that was not delivered and that we found by asking.
    source = CharField(default="webhook")

    class Meta:
        indexes = ((("account", "event_id"), True),)


class Worker(Table):
    """A worker's heartbeat."""

    name = CharField(unique=True)
    started_at = MomentField()
    seen_at = MomentField()

    @classmethod
    def latest(cls) -> Self | None:
        return cls.select().order_by(cls.seen_at.desc()).first()


class Connection(Table):
    """A merchant's own Stripe account, on an installation that serves several merchants."""

    merchant = ForeignKeyField(Merchant, unique=True)
    merchant_id: int
    account = CharField(unique=True)
    state = CharField(default=ConnectionState.PENDING)
    requirements = JSONField(default=list)
    created_at = MomentField(default=clock.now)
    checked_at = MomentField(default=clock.now)


class Breaker(Table):
    """An outside service that is left alone for a while: everybody would fail in the same way."""

    name = CharField(unique=True)
    opened_at = MomentField()
    probe_at = MomentField()
    code = CharField()
    detail = TextField(default="")


class Check(Table):
    """The last run of a regular check: when, and what it found."""

    name = CharField()
    account = CharField(default="")
    ran_at = MomentField()
    is_ok = BooleanField()
    facts = JSONField(default=dict)

    class Meta:
        indexes = ((("name", "account"), True),)


class Stray(Table):
    """Money at Stripe that no order of ours explains, until a person has dealt with it."""

    merchant = ForeignKeyField(Merchant, null=True)
    merchant_id: int | None
    account = CharField(default="")
    session_id = CharField()
    reference = CharField(default="")
    amount_minor = BigIntegerField()
    currency = CharField()
    found_at = MomentField(default=clock.now)
    closed_at = MomentField(null=True)
    closed_by = CharField(null=True)

    class Meta:
        indexes = ((("account", "session_id"), True),)


class Notice(Table):
    """A mail to one owner about one thing that needs a person; `key` names the thing, so that it is told once."""

    merchant = ForeignKeyField(Merchant)
    merchant_id: int
    user = ForeignKeyField(User)
    user_id: int
    kind = CharField()
    key = CharField()
    facts = JSONField(default=dict)
    state = CharField(default=NoticeState.WAITING)
    attempt = IntegerField(default=0)
    token = IntegerField(default=0)
    not_before = MomentField(default=clock.now)
    lease_until = MomentField(null=True)
    message_id = CharField(unique=True)
    error = TextField(null=True)
    created_at = MomentField(default=clock.now)
    sent_at = MomentField(null=True)

    class Meta:
        indexes = ((("user", "kind", "key"), True), (("state", "not_before"), False))


TABLES: tuple[type[Table], ...] = tuple(sorted(Table.__subclasses__(), key=lambda table: table._meta.table_name))
