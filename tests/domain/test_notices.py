"""Mails to owners: what needs them is told once, to them alone, several things in one letter."""

import threading
from datetime import timedelta
from string import Formatter

import flask
import pytest

from database import connected, transaction
from domain import breakers, checks, clock, fulfilment, needs, notices
from domain.needs import NeedKind
from domain.states import (
    ConnectionState,
    DisputeKind,
    NoticeState,
    PaymentState,
    RefundOrigin,
    RefundState,
    StepName,
    StepState,
)
from effects import notices as posting
from gateways import notice_words
from models import Connection, Dispute, Merchant, Notice, Order, Payment, Refund, Step, Stray, User
from tests import cast as casting
from tests.smtp import ScriptedServer

ANNA, BEN, CARLA = "anna@alba.example", "ben@alba.example", "carla@berg.example"


def paid(merchant: Merchant, *recipients: str, **facts: object) -> Order:
    """A paid order whose steps are planned; the payment is written as Stripe's news would."""
    order = casting.place(merchant, *recipients, **facts)
    Payment.create(
        order=order,
        merchant=merchant,
        attempt=1,
        idempotency_key=order.ref,
        session_id=f"cs_test_{order.ref}",
        payment_intent_id=f"pi_{order.ref}",
        state=PaymentState.PAID,
        amount_minor=order.total_minor,
        currency=order.currency,
        is_live=False,
        expires_at=clock.now(),
        paid_at=clock.now(),
    )
    with transaction():
        Order.update(payment_state=PaymentState.PAID, paid_at=clock.now()).where(Order.id == order.id).execute()
        fulfilment.plan(Order.get_by_id(order.id))
    return Order.get_by_id(order.id)


def kill(order: Order, name: StepName = StepName.CREATE, *, code: str = "bad_address") -> Step:
    """A step that has stopped for good, as a refused address stops it."""
    Step.update(state=StepState.READY).where(Step.order == order, Step.name == name).execute()
    Step.update(state=StepState.BLOCKED).where(Step.order == order, Step.name != name).execute()
    step = fulfilment.claim("test", order_id=order.id)
    assert step is not None and step.name == name
    fulfilment.fail(step, fulfilment.Failure(code, "550 no such user", is_permanent=True))
    return Step.get_by_id(step.id)


def contest(order: Order, kind: DisputeKind = DisputeKind.DISPUTE, dispute_id: str = "dp_1") -> Dispute:
    payment = order.latest_payment
    assert payment is not None
    return Dispute.create(
        merchant=order.merchant_id,
        order=order,
        payment=payment,
        dispute_id=dispute_id,
        kind=kind,
        status="needs_response",
        amount_minor=order.total_minor,
        currency=order.currency,
        respond_by=clock.now() + timedelta(days=7),
        opened_at=clock.now(),
    )


def give_back(order: Order, **facts: object) -> Refund:
    payment = order.latest_payment
    assert payment is not None
    values = {"public_id": f"ref_{order.ref}", "actor": "test", "amount_minor": 100, "currency": "EUR"} | facts
    return Refund.create(merchant=order.merchant_id, order=order, payment=payment, **values)


def tell(**later: float) -> int:
    """What the watch does, after some time; how many letters went out."""
    clock.move(timedelta(**later))
    return posting.tell(clock.now())


def letters(smtp: ScriptedServer) -> list[tuple[str, str]]:
    return [(str(each.message["To"]), str(each.message["Subject"])) for each in smtp.messages]


def kinds(merchant: Merchant) -> list[str]:
    return [str(need.kind) for need in needs.attention(merchant, clock.now())]


# What needs a person


def test_a_shop_in_which_all_is_well_needs_nobody(merchant: Merchant) -> None:
    paid(merchant)
    assert kinds(merchant) == []


def test_each_trouble_is_a_need_of_its_merchant_alone_and_goes_with_its_cause(
    merchant: Merchant, other_merchant: Merchant
) -> None:
    order = paid(merchant)
    kill(order)
    dispute = contest(order)
    warning = contest(order, DisputeKind.FRAUD_WARNING, "issfr_1")
    foreign = give_back(order, origin=RefundOrigin.STRIPE, refund_id="re_1", state=RefundState.SUCCEEDED,
                        ended_at=clock.now())  # fmt: skip
    give_back(order, public_id="ref_2", origin=RefundOrigin.DASHBOARD, decided_at=clock.now(),
              state=RefundState.FAILED, ended_at=clock.now())  # fmt: skip
    stray = Stray.create(merchant=merchant, session_id="cs_test_x", amount_minor=1, currency="EUR")
    account = Connection.create(merchant=merchant, account="acct_1", state=ConnectionState.RESTRICTED)
    checks.report("account", account="acct_1", is_ok=False, at=clock.now())
    assert sorted(kinds(merchant)) == [
        "account", "dispute", "fraud_warning", "refund_failed", "refund_to_decide", "step", "stray",
    ]  # fmt: skip
    assert kinds(other_merchant) == []
    now = clock.now()
    for row in (dispute, warning):
        type(row).update(state="closed", closed_at=now).where(type(row).id == row.id).execute()
    Refund.update(decided_at=now).where(Refund.id == foreign.id).execute()
    give_back(order, public_id="ref_3", origin=RefundOrigin.DASHBOARD, decided_at=now)
    Stray.update(closed_at=now, closed_by="Anna").where(Stray.id == stray.id).execute()
    Connection.update(state=ConnectionState.READY).where(Connection.id == account.id).execute()
    step = Step.get(Step.state == StepState.DEAD)
    fulfilment.retry(order, step.id, token=step.token, actor="Anna")
    assert kinds(merchant) == []


def test_a_held_payment_needs_somebody(merchant: Merchant) -> None:
    order = casting.place(merchant)
    Payment.create(
        order=order, merchant=merchant, attempt=1, idempotency_key="k", session_id="cs_test_1", is_live=False,
        state=PaymentState.REVIEW, amount_minor=5000, currency="EUR", expires_at=clock.now(), received_minor=500,
        received_currency="EUR",
    )  # fmt: skip
    (need,) = needs.attention(merchant, clock.now())
    assert (need.kind, need.order, need.facts["received_minor"]) == (NeedKind.REVIEW, order, 500)


# Told once, to owners


@pytest.mark.req("F67", "S1-27")
def test_a_dead_mail_is_told_to_the_owner_once_and_to_nobody_else(
    cast: casting.Cast, smtp: ScriptedServer, app: flask.Flask
) -> None:
    order = paid(cast.alba)
    kill(order, StepName.DELIVER_BUYER)
    assert tell() == 0
    assert tell(minutes=2) == 1
    assert letters(smtp) == [(ANNA, f"TEST: {order.number}: the e-mail did not arrive")]
    for _ in range(5):
        assert tell(minutes=1) == 0
    assert [notice.state for notice in Notice.select()] == [NoticeState.SENT]


def test_a_step_that_dies_again_after_a_retry_is_told_again(cast: casting.Cast, smtp: ScriptedServer) -> None:
    order = paid(cast.alba)
    step = kill(order)
    tell()
    tell(minutes=2)
    fulfilment.retry(order, step.id, token=step.token, actor="Anna")
    kill(order)
    tell()
    tell(minutes=2)
    assert [to for to, _ in letters(smtp)] == [ANNA, ANNA]
    assert len({str(each.message["Message-ID"]) for each in smtp.messages}) == 2


def test_what_somebody_dealt_with_before_it_was_told_is_not_told(cast: casting.Cast, smtp: ScriptedServer) -> None:
    order = paid(cast.alba)
    step = kill(order)
    tell()
    fulfilment.retry(order, step.id, token=step.token, actor="Anna")
    assert tell(minutes=2) == 0
    assert (letters(smtp), Notice.get().state) == ([], NoticeState.SETTLED)


def test_many_troubles_at_once_are_one_letter(cast: casting.Cast, smtp: ScriptedServer) -> None:
    orders = [paid(cast.alba) for _ in range(20)]
    for order in orders[:12]:
        kill(order)
    tell()
    for order in orders[12:]:
        kill(order)
    assert tell(minutes=1) == 0
    assert tell(minutes=1) == 1
    (letter,) = smtp.messages
    assert str(letter.message["Subject"]) == "TEST: Café Alba: 20 things need you"
    text = letter.text
    assert all(order.number in text for order in orders)
    assert tell(minutes=10) == 0


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        (DisputeKind.DISPUTE, "the payment is disputed"),
        (DisputeKind.INQUIRY, "the bank asks about a payment"),
        (DisputeKind.FRAUD_WARNING, "warning of a stolen card"),
    ],
)
@pytest.mark.req("F58")
def test_a_contested_payment_is_told_with_its_sum_and_its_last_day(
    cast: casting.Cast, smtp: ScriptedServer, kind: DisputeKind, subject: str
) -> None:
    order = paid(cast.alba)
    contest(order, kind)
    tell()
    tell(minutes=2)
    (letter,) = smtp.messages
    assert str(letter.message["Subject"]) == f"TEST: {order.number}: {subject}"
    text = letter.text
    assert "50.00" in text and f"/dashboard/orders/{order.number}" in text
    assert "–" not in text.replace("G–", ""), "a place was left empty"


@pytest.mark.req("F38")
def test_while_no_mail_goes_out_notices_wait_and_then_say_since_when(cast: casting.Cast, smtp: ScriptedServer) -> None:
    breakers.trip(breakers.MAIL, code="mail_ours", detail="535 wrong password")
    began_at = clock.now()
    for _ in range(10):
        assert tell(minutes=5) == 0
    breakers.mend(breakers.MAIL)
    assert tell() == 2
    assert sorted(to for to, _ in letters(smtp)) == [ANNA, CARLA]
    assert {subject for _, subject in letters(smtp)} == {"TEST: E-mails are going out again"}
    local = began_at.astimezone(clock.zone("Europe/Vienna"))
    assert f"{local:%H:%M}" in smtp.messages[0].text
    assert tell(minutes=5) == 0


def test_a_short_hiccup_of_the_mail_server_is_not_told(cast: casting.Cast, smtp: ScriptedServer) -> None:
    breakers.trip(breakers.MAIL, code="mail_ours")
    tell(seconds=90)
    breakers.mend(breakers.MAIL)
    assert tell(minutes=5) == 0


def test_an_owner_reads_in_their_own_language(cast: casting.Cast, smtp: ScriptedServer) -> None:
    User.update(locale="de").where(User.id == cast.anna.id).execute()
    kill(paid(cast.alba), StepName.DELIVER_BUYER)
    tell()
    tell(minutes=2)
    (letter,) = smtp.messages
    assert "die E-Mail kam nicht an" in str(letter.message["Subject"])
    assert "Guten Tag Anna" in letter.html


# Once, whatever happens


def test_two_workers_at_once_send_one_letter(cast: casting.Cast, smtp: ScriptedServer, app: flask.Flask) -> None:
    for _ in range(8):
        kill(paid(cast.alba))
    notices.plan(clock.now())
    clock.move(timedelta(minutes=2))
    gate = threading.Barrier(4)

    def work() -> None:
        with app.app_context(), connected():
            gate.wait()
            posting.send_due(clock.now())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [to for to, _ in letters(smtp)] == [ANNA]
    assert {notice.state for notice in Notice.select()} == {NoticeState.SENT}


@pytest.mark.req("F39")
def test_a_worker_that_dies_after_sending_leaves_a_copy_under_the_same_message_id(
    cast: casting.Cast, smtp: ScriptedServer
) -> None:
    kill(paid(cast.alba))
    notices.plan(clock.now())
    clock.move(timedelta(minutes=2))
    bundle = notices.claim(clock.now())
    assert bundle is not None and notices.claim(clock.now()) is None
    from effects.outside import here

    here().mailer.send(posting._letter(bundle))  # and the worker is gone before it could say so
    kill(paid(cast.alba))
    notices.plan(clock.now())
    clock.move(notices.LEASE + timedelta(seconds=1))
    posting.send_due(clock.now())
    ids = [str(each.message["Message-ID"]) for each in smtp.messages]
    assert ids[0] == ids[1] and len(set(ids)) == 2, "the copy keeps its content, the new trouble has its own letter"
    with pytest.raises(notices.LeaseLost):
        notices.finish(bundle, at=clock.now())


def test_a_mail_server_that_is_away_is_tried_again_and_a_refused_address_is_not(
    cast: casting.Cast, smtp: ScriptedServer
) -> None:
    kill(paid(cast.alba))
    tell()
    smtp.answer("RCPT", "451 4.7.1 Come back later")
    assert tell(minutes=2) == 0
    assert Notice.get().state == NoticeState.WAITING
    assert tell(minutes=10) == 1


# Words


def test_every_need_has_its_five_parts_in_both_languages() -> None:
    for locale in ("de", "en"):
        named = notice_words.SENTENCES[locale]
        for kind in NeedKind:
            assert any(name.partition(".")[0] == kind for name in named), (locale, kind)
        for step in StepName:
            assert f"step.{step}" in named
        for name, words in named.items():
            for part in ("title", "effect", "cause", "by_itself", "advice"):
                assert getattr(words, part), (locale, name, part)
    assert notice_words.SENTENCES["de"].keys() == notice_words.SENTENCES["en"].keys()
    assert notice_words.CAUSES["de"].keys() == notice_words.CAUSES["en"].keys()


def test_a_sentence_has_the_same_places_in_both_languages() -> None:
    for name, german in notice_words.SENTENCES["de"].items():
        english = notice_words.SENTENCES["en"][name]
        assert _places(german) == _places(english), name


def test_a_letter_of_every_kind_can_be_written_without_any_facts() -> None:
    for locale in ("de", "en"):
        for kind in (*NeedKind, "something new"):
            words = notice_words.of(str(kind), {}, locale=locale)
            assert "{" not in "".join((words.title, words.effect, words.cause, words.by_itself, words.advice))


def _places(words: notice_words.Words) -> set[str]:
    texts = (words.title, words.effect, words.cause, words.by_itself, words.advice)
    return {name for text in texts for _, name, _, _ in Formatter().parse(text) if name}
