"""Lines that break at any byte: to the mail server, to Stripe, to PostgreSQL. Nothing is lost, nothing is half."""

import dataclasses
import random
from collections.abc import Callable, Iterator
from datetime import timedelta

import flask
import peewee
import pytest

import config
import database
from app import create_app
from domain import checkout, clock
from domain.states import StepName
from effects import outside as outsides
from effects import payment, work
from gateways.mailer import Mailer
from gateways.stripe_checkout import StripeUnavailable
from gateways.stripe_twin import Twin
from models import Merchant, Order, Payment, Step, StepAttempt
from tests import cast as casting
from tests import sales
from tests.browser import Browser
from tests.faults import promises, recovery
from tests.faults.proxy import Proxy, postgres_target, postgres_url
from tests.smtp import ScriptedServer

SDK_TRIES = 3
CUTS_OF_A_SETTLEMENT = 24


@pytest.fixture
def mail_line(smtp: ScriptedServer) -> Iterator[Proxy]:
    with Proxy((smtp.host, smtp.port)) as proxy:
        yield proxy


@pytest.fixture
def mailed(app: flask.Flask, mail_line: Proxy, merchant: Merchant) -> Callable[[], Order]:
    """Sends the voucher of a new order over the line that breaks, once; the order."""
    outside = app.extensions["outside"]
    mailer = Mailer("127.0.0.1", mail_line.port, sender=outside.settings.sender, timeout=1.0)
    app.extensions["outside"] = dataclasses.replace(outside, mailer=mailer)

    def sell() -> Order:
        order = casting.place(merchant)
        payment.start(order)
        outside.stripe.fetch_session(order.latest_payment.session_id)
        return order

    return sell


def first_mail(order: Order, twin: Twin) -> StepAttempt:
    """The order is paid, and its mail is tried for the first time: how that ended."""
    twin.pay(order.latest_payment.session_id, deliver=False)
    payment.confirm(order.latest_payment, source=checkout.Source.WEBHOOK)
    work.run_due("first", order_id=order.id)
    step = order.steps.where(Step.name == StepName.DELIVER_BUYER).get()
    return StepAttempt.get(StepAttempt.step == step)


def send_again(order: Order) -> None:
    """The pause is over."""
    recovery.let_time_pass(order.id)
    work.run_due("second", order_id=order.id)


def test_a_line_through_the_proxy_is_a_line(
    mailed: Callable[[], Order], mail_line: Proxy, twin: Twin, smtp: ScriptedServer
) -> None:
    mail_line.slow(seconds=0.002, at_a_time=500)
    order = mailed()
    assert first_mail(order, twin).outcome == "done"
    promises.assert_kept(order, smtp.messages, copies=1)
    assert mail_line.connections == 1


@pytest.mark.req("F39", "F36")
@pytest.mark.timeout(240)
def test_a_mail_line_cut_before_the_dot_is_a_failure_and_tried_again(
    mailed: Callable[[], Order], mail_line: Proxy, twin: Twin, smtp: ScriptedServer, chance: random.Random
) -> None:
    said, heard = dialogue(mailed, mail_line, twin, smtp)
    # Up to the 354 the letter itself cannot have left.
    places = [{"to_server": at} for at in spread(0, said.envelope, 6, chance)]
    places += [{"to_client": at} for at in spread(0, heard.go_ahead, 6, chance)]
    for place in places:
        smtp.messages.clear()
        order = mailed()
        mail_line.cut(**place)
        attempt = first_mail(order, twin)
        assert (attempt.outcome, attempt.code) == ("failed", "mail_unreachable"), (place, attempt.detail)
        assert smtp.messages == [], place
        send_again(order)
        promises.assert_kept(order, smtp.messages, copies=1)
    promises.assert_books()


@pytest.mark.req("F39")
@pytest.mark.timeout(240)
def test_a_mail_line_cut_within_the_letter_leaves_one_letter(
    mailed: Callable[[], Order], mail_line: Proxy, twin: Twin, smtp: ScriptedServer, chance: random.Random
) -> None:
    said, _ = dialogue(mailed, mail_line, twin, smtp)
    # No two PDFs are equally long, so the last places are left out.
    for at in spread(said.envelope, said.dot - 500, 6, chance):
        smtp.messages.clear()
        order = mailed()
        mail_line.cut(to_server=at)
        # The last bytes may have left us before we hear of the cut; then nobody here knows.
        attempt = first_mail(order, twin)
        assert attempt.code in ("mail_unreachable", "mail_unknown"), (at, attempt.outcome, attempt.detail)
        assert smtp.messages == [], at
        send_again(order)
        promises.assert_kept(order, smtp.messages, copies=1)


@pytest.mark.req("F39")
@pytest.mark.timeout(240)
def test_a_mail_line_cut_after_the_dot_is_unknown_and_sent_again_under_its_message_id(
    mailed: Callable[[], Order], mail_line: Proxy, twin: Twin, smtp: ScriptedServer, chance: random.Random
) -> None:
    _, heard = dialogue(mailed, mail_line, twin, smtp)
    for at in [heard.go_ahead, *spread(heard.go_ahead + 1, heard.accepted - 1, 4, chance), heard.accepted - 1]:
        smtp.messages.clear()
        order = mailed()
        mail_line.cut(to_client=at)
        attempt = first_mail(order, twin)
        assert (attempt.outcome, attempt.code) == ("unknown", "mail_unknown"), (at, attempt.detail)
        assert len(smtp.messages) == 1, "the server took it, and only its answer was lost"
        send_again(order)
        assert len(smtp.messages) == 2
        promises.assert_kept(order, smtp.messages)


@pytest.mark.req("F39")
def test_a_mail_line_cut_after_the_250_is_a_success(
    mailed: Callable[[], Order], mail_line: Proxy, twin: Twin, smtp: ScriptedServer
) -> None:
    _, heard = dialogue(mailed, mail_line, twin, smtp)
    smtp.messages.clear()
    order = mailed()
    mail_line.cut(to_client=heard.accepted)
    assert first_mail(order, twin).outcome == "done"
    promises.assert_kept(order, smtp.messages, copies=1)


@pytest.mark.req("F39")
@pytest.mark.timeout(240)
def test_a_mail_line_that_swallows_everything_ends_with_the_time_out(
    mailed: Callable[[], Order], mail_line: Proxy, twin: Twin, smtp: ScriptedServer
) -> None:
    said, heard = dialogue(mailed, mail_line, twin, smtp)
    for place, code in (
        ({"to_client": 0}, "mail_unreachable"),
        ({"to_server": said.envelope}, "mail_unknown"),
        ({"to_client": heard.go_ahead}, "mail_unknown"),
    ):
        smtp.messages.clear()
        order = mailed()
        mail_line.swallow(**place)
        assert first_mail(order, twin).code == code, place
        mail_line.reset_all()
        send_again(order)
        promises.assert_kept(order, smtp.messages)


@dataclasses.dataclass(frozen=True)
class Said:
    """How many bytes we have sent by the end of DATA (`envelope`) and of the dot."""

    envelope: int
    dot: int


@dataclasses.dataclass(frozen=True)
class Heard:
    """How many bytes the server has sent by the end of its 354 (`go_ahead`) and of its 250."""

    go_ahead: int
    accepted: int


def dialogue(mailed: Callable[[], Order], line: Proxy, twin: Twin, smtp: ScriptedServer) -> tuple[Said, Heard]:
    """A conversation without a fault, measured. The addresses of all orders are equally long."""
    order = mailed()
    line.measure()
    assert first_mail(order, twin).outcome == "done"
    to_server, to_client = line.measure()
    raw, quit_ = len(smtp.messages[-1].raw), len(b"QUIT\r\n")
    dots = smtp.messages[-1].raw.count(b"\n.")
    dot = to_server - quit_
    bye, taken = len(b"221 Bye\r\n"), len(b"250 2.0.0 Ok: queued as SCRIPTED1\r\n")
    return (
        Said(envelope=dot - len(b".\r\n") - raw - dots, dot=dot),
        Heard(go_ahead=to_client - bye - taken, accepted=to_client - bye),
    )


def spread(first: int, last: int, count: int, chance: random.Random) -> list[int]:
    """`first` and some places after it, up to and without `last`, evenly and with some chance."""
    width = (last - first) / count
    return sorted({first, *(first + int((number + chance.random()) * width) for number in range(count))})


@pytest.fixture
def stripe_line(twin: Twin) -> Iterator[Proxy]:
    with Proxy(("127.0.0.1", int(twin.api_base.rpartition(":")[2]))) as proxy:
        yield proxy


@pytest.fixture
def on_stripe_line(app: flask.Flask, stripe_line: Proxy) -> None:
    """The shop reaches Stripe over the line that breaks."""
    outside = app.extensions["outside"]
    settings = outside.settings.model_copy(update={"stripe_api_base": f"http://127.0.0.1:{stripe_line.port}"})
    stripe = outsides.build(settings, ring=outside.ring).stripe
    app.extensions["outside"] = dataclasses.replace(outside, stripe=stripe, settings=settings)


@pytest.mark.req("F12")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("direction", ["to_server", "to_client"])
def test_a_line_to_stripe_cut_while_a_session_is_opened_leaves_one_session(
    on_stripe_line: None, stripe_line: Proxy, twin: Twin, merchant: Merchant, direction: str, chance: random.Random
) -> None:
    stripe_line.measure()
    payment.start(casting.place(merchant))
    length = stripe_line.measure()[0 if direction == "to_server" else 1]
    count = 1
    for at in [*spread(0, length, 4, chance), length - 1]:
        order = casting.place(merchant)
        # The SDK repeats by itself, with the same key; here every one of its tries is cut.
        stripe_line.cut(**{direction: at}, times=SDK_TRIES)
        with pytest.raises(StripeUnavailable):
            payment.start(order)
        assert Payment.get(Payment.order == order).session_id is None
        stripe_line.heal()
        url = payment.start(order)
        count += 1
        assert len(twin.sessions()) == count, f"cut {direction} after {at} of {length} bytes"
        kept = Payment.get(Payment.order == order)
        assert twin.sessions()[0]["id"] == kept.session_id and kept.url == url
        assert payment.start(order) == url and len(twin.sessions()) == count


@pytest.mark.req("F12")
def test_a_line_to_stripe_cut_once_is_repaired_before_the_buyer_notices(
    on_stripe_line: None, stripe_line: Proxy, twin: Twin, cast: casting.Cast, client: Browser
) -> None:
    stripe_line.cut(to_client=100)
    session_id = sales.order(client)
    assert [session["id"] for session in twin.sessions()] == [session_id]
    assert stripe_line.breaks_done == 1


@pytest.mark.req("F12", "F4")
def test_a_line_to_stripe_cut_while_a_payment_is_confirmed_settles_later(
    on_stripe_line: None,
    stripe_line: Proxy,
    twin: Twin,
    merchant: Merchant,
    client: Browser,
    smtp: ScriptedServer,
    sweep: Callable[[], dict[str, int]],
) -> None:
    order = casting.place(merchant)
    payment.start(order)
    body, headers = twin.signed(twin.pay(order.latest_payment.session_id, deliver=False))
    stripe_line.cut(to_client=50, times=SDK_TRIES)
    assert client.post("/webhooks/stripe", data=body, headers=headers).status_code == 503
    assert not Order.get_by_id(order.id).is_paid
    stripe_line.heal()
    clock.move(timedelta(minutes=6))
    sweep()
    promises.assert_kept(order, smtp.messages, copies=1)


@pytest.mark.req("F19", "F25")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", ["postgresql"])
@pytest.mark.parametrize("direction", ["to_server", "to_client"])
def test_a_line_to_postgresql_cut_at_any_byte_of_a_sale_leaves_nothing_half(
    settings: config.Settings,
    press: object,
    twin: Twin,
    smtp: ScriptedServer,
    direction: str,
    chance: random.Random,
) -> None:
    with Proxy(postgres_target(settings.database_url)) as line:
        through = settings.model_copy(update={"database_url": postgres_url(settings.database_url, port=line.port)})
        app = create_app(through)
        app.extensions["outside"] = dataclasses.replace(app.extensions["outside"], press=press)
        with app.app_context():
            with database.connected():
                shop = casting.merchant("cafe-alba", "Café Alba")
            length = _sell_over(line, app, shop, twin, smtp, None)[0 if direction == "to_server" else 1]
            for at in spread(0, length, CUTS_OF_A_SETTLEMENT, chance):
                smtp.messages.clear()
                _sell_over(line, app, shop, twin, smtp, {direction: at})
            with database.connected():
                promises.assert_books()
        # The last cut may come to nothing, as no two sales are equally long.
        assert line.breaks_done >= CUTS_OF_A_SETTLEMENT - 1
        app.extensions["huey"].storage.close()
        database.db.obj.close_all()


def _sell_over(
    line: Proxy, app: flask.Flask, shop: Merchant, twin: Twin, smtp: ScriptedServer, place: dict[str, int] | None
) -> tuple[int, int]:
    """A sale whose line breaks once somewhere between the event and the mail; whoever was interrupted comes again.

    How many bytes went to the server and came back.
    """
    with database.connected():
        order = casting.place(shop)
        payment.start(order)
        body, headers = twin.signed(twin.pay(order.latest_payment.session_id, deliver=False))
    client, done = app.test_client(), line.breaks_done
    line.measure()
    if place:
        line.cut(**place)
    answer = client.post("/webhooks/stripe", data=body, headers=headers)
    assert answer.status_code in (200, 503), f"{place}: {answer.status_code}"
    if answer.status_code == 503:
        assert line.breaks_done == done + 1
        assert client.post("/webhooks/stripe", data=body, headers=headers).status_code == 200, place
    for worker in ("first", "second"):
        try:
            with database.connected():
                work.run_due(worker, order_id=order.id)
        except peewee.PeeweeException:
            assert line.breaks_done == done + 1
    passed = line.measure()
    line.heal()
    with database.connected():
        recovery.let_time_pass(order.id)
        work.run_due("third", order_id=order.id)
        promises.assert_kept(order, smtp.messages)
    return passed


@pytest.mark.req("F25")
@pytest.mark.parametrize("engine", ["postgresql"])
def test_a_restarted_postgresql_costs_a_request_at_most(
    settings: config.Settings, twin: Twin, smtp: ScriptedServer
) -> None:
    with Proxy(postgres_target(settings.database_url)) as line:
        through = settings.model_copy(update={"database_url": postgres_url(settings.database_url, port=line.port)})
        app = create_app(through)
        with app.app_context():
            with database.connected():
                casting.merchant("cafe-alba", "Café Alba")
            client = app.test_client()
            assert client.get("/s/cafe-alba").status_code == 200
            line.reset_all()
            statuses = [client.get("/s/cafe-alba").status_code for _ in range(3)]
        assert statuses[0] in (200, 503) and statuses[1:] == [200, 200]
        app.extensions["huey"].storage.close()
        database.db.obj.close_all()
