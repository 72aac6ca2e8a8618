"""Anna and Ben press the same button ten times each, as fast as two real browsers can: it is done once.

Also a buyer who presses buy ten times.
"""

import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

import config
import database
from blueprints.dashboard import steps
from domain import audit, clock
from domain.states import MAILS, StepState
from gateways.stripe_twin import Twin
from models import Entry, Order, Payment, Refund, Step, StepAttempt, TimelineEntry
from tests import cast as casting
from tests import processes, sales, webserver
from tests.browser import Browser
from tests.smtp import ScriptedServer

CLICKS, PATIENCE_MS = 10, 60_000
# The winner reads the first, the other one the second; whoever comes when it is over finds the state that it is in.
_TOLD = "Trying now|This is already being tried."
_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=["with JavaScript", "without JavaScript"])
def has_script(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "with JavaScript")


@pytest.fixture
def server(settings: config.Settings, cast: casting.Cast) -> Iterator[webserver.Server]:
    with webserver.running(settings) as running:
        yield running


@pytest.fixture
def sold(client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast) -> Order:
    """A paid order whose work has not begun."""
    return sales.pay(client, twin, sales.order(client, amount="50"))


@pytest.mark.req("F44")
def test_ten_clicks_on_try_now_in_two_browsers_are_one_attempt_and_one_mail(
    server: webserver.Server, sold: Order, smtp: ScriptedServer, settings: config.Settings, has_script: bool
) -> None:
    smtp.answer("RCPT", "451 4.7.1 Come back later")
    # The worker hears the bell and does not sweep, so that nobody but the button tries again.
    with processes.worker(settings, sweep_seconds=600):
        processes.wait_until(lambda: _mail(sold).state == StepState.RETRY_WAIT, what="the refused mail")

        def press(page: Page) -> Callable[[], None]:
            button = page.get_by_role("button", name="Try now").first
            return lambda: button.click(click_count=CLICKS, no_wait_after=True)

        def look(page: Page) -> None:
            expect(page.get_by_text(re.compile(_TOLD)).first).to_be_attached(timeout=PATIENCE_MS)
            processes.wait_until(lambda: _mail(sold).state == StepState.DONE, what="the mail")
            _see(page, "E-mail to lukas@example.com accepted by the mail server", has_script=has_script)

        presses = _together(server, sold, press, look, has_script=has_script)
    print(presses)
    assert all(presses[name] > 0 for name in ("anna", "ben"))
    step = _mail(sold)
    assert [attempt.outcome for attempt in step.attempts.order_by(StepAttempt.id)] == ["failed", "done"]
    assert TimelineEntry.select().where(TimelineEntry.kind == "step_retried").count() == 1
    assert len(smtp.messages) == 1
    assert audit.is_clean(findings := audit.run()), findings


@pytest.mark.req("F44")
def test_ten_clicks_on_send_again_in_two_browsers_are_one_copy(
    server: webserver.Server, sold: Order, smtp: ScriptedServer, settings: config.Settings, has_script: bool
) -> None:
    with processes.worker(settings, sweep_seconds=600):
        processes.wait_until(lambda: _mail(sold).state == StepState.DONE, what="the mail")
        # The first copy went out a while ago: within a minute the button refuses anybody.
        long_ago = clock.now() - steps.BETWEEN_COPIES - timedelta(minutes=5)
        Step.update(finished_at=long_ago).where(Step.id == _mail(sold).id).execute()

        def press(page: Page) -> Callable[[], None]:
            button = page.get_by_role("button", name="Send again").first
            return lambda: button.click(click_count=CLICKS, no_wait_after=True)

        def look(page: Page) -> None:
            words = re.compile("E-mail queued|This is already being tried.|It went out a moment ago.")
            expect(page.get_by_text(words).first).to_be_attached(timeout=PATIENCE_MS)
            processes.wait_until(lambda: len(smtp.messages) == 2, what="the copy")
            processes.wait_until(lambda: _mail(sold).state == StepState.DONE, what="the copy's step")
            _see(page, "Asked to send the e-mail again", has_script=has_script)

        presses = _together(server, sold, press, look, has_script=has_script)
    print(presses)
    assert all(presses[name] > 0 for name in ("anna", "ben"))
    assert [step.epoch for step in sold.steps.where(Step.name.in_(MAILS))] == [1, 2]
    assert TimelineEntry.select().where(TimelineEntry.kind == "mail_sent_again").count() == 1
    assert len(smtp.messages) == 2
    assert len({str(letter.message["Message-ID"]) for letter in smtp.messages}) == 2
    assert audit.is_clean(findings := audit.run()), findings


@pytest.mark.req("F44")
def test_ten_clicks_on_refund_now_are_one_refund(
    server: webserver.Server, sold: Order, twin: Twin, settings: config.Settings, has_script: bool
) -> None:
    """Only Anna may refund; she has the form open in two browsers."""
    with processes.worker(settings, sweep_seconds=600):
        processes.wait_until(lambda: _mail(sold).state == StepState.DONE, what="the mail")

        def press(page: Page) -> Callable[[], None]:
            page.goto(f"{page.url}/refund")
            button = page.get_by_role("button", name="Refund now").first
            return lambda: button.click(click_count=CLICKS, no_wait_after=True)

        def look(page: Page) -> None:
            words = re.compile("Stripe sends the money back|Stripe has the refund|At most €0.00|^Refunded$")
            expect(page.locator(".note, .toast, .error").get_by_text(words).first).to_be_attached(timeout=PATIENCE_MS)
            processes.wait_until(lambda: Refund.select().where(Refund.ended_at.is_null(False)).exists(), what="it")
            _see(page, "Refund of €50.00 asked for", has_script=has_script)

        presses = _together(server, sold, press, look, has_script=has_script, people=("anna", "anna"))
    print(presses)
    assert presses["anna"] >= 2
    assert [refund.amount_minor for refund in Refund.select()] == [5000]
    assert [entry.amount_minor for entry in Entry.select().order_by(Entry.id)] == [5000, -5000]
    assert sum(event["data"]["object"]["amount_refunded"] for event in twin.events("charge.refunded")) == 5000
    assert audit.is_clean(findings := audit.run()), findings


def test_ten_clicks_on_buy_are_one_order_and_one_session(
    server: webserver.Server, twin: Twin, cast: casting.Cast, has_script: bool
) -> None:
    with _browser(server, has_script=has_script) as page:
        presses = _count_posts(page)
        page.goto("/s/cafe-alba?lang=en")
        page.locator("input[name=buyer_email]").fill("lukas@example.com")
        page.locator("#buy").click(click_count=CLICKS, no_wait_after=True)
        # Chromium is led to the twin's payment page.
        page.wait_for_url(re.compile(re.escape(twin.api_base)), timeout=PATIENCE_MS)
    print(presses)
    assert Order.select().count() == 1
    assert [payment.session_id for payment in Payment.select()] == [session["id"] for session in twin.sessions()]
    assert len(twin.sessions()) == 1


def _together(
    server: webserver.Server,
    order: Order,
    press: Callable[[Page], Callable[[], None]],
    look: Callable[[Page], None],
    *,
    has_script: bool,
    people: tuple[str, str] = ("anna", "ben"),
) -> Counter[str]:
    """Both sign in, open the order, press at the same moment and look at the end; how many POSTs left each browser."""
    at_once, presses = threading.Barrier(len(people), timeout=120), Counter[str]()

    def work(name: str) -> None:
        with database.connected(), _browser(server, has_script=has_script) as page:
            _sign_in(page, f"{name}@alba.example")
            page.goto(f"/dashboard/orders/{order.number}")
            posts, click = _count_posts(page), press(page)
            at_once.wait()
            click()
            look(page)
            presses[name] += posts["POST"]

    with ThreadPoolExecutor(len(people)) as pool:
        for done in [pool.submit(work, name) for name in people]:
            done.result()
    return presses


@contextmanager
def _browser(server: webserver.Server, *, has_script: bool) -> Iterator[Page]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=Path(path), args=list(_FLAGS))
        context = browser.new_context(
            base_url=f"http://localhost:{server.port}", locale="en", java_script_enabled=has_script
        )
        context.set_default_timeout(PATIENCE_MS)
        yield context.new_page()
        browser.close()


def _count_posts(page: Page) -> Counter[str]:
    """Counts requests by method from now on."""
    methods = Counter[str]()
    page.on("request", lambda request: methods.update([request.method]))
    return methods


def _sign_in(page: Page, email: str) -> None:
    page.goto("/login")
    page.locator("input[name=email]").fill(email)
    page.locator("input[name=password]").fill(casting.PASSWORD)
    page.locator("form[action*=login] button").click()
    page.wait_for_url(re.compile("/dashboard"))


def _see(page: Page, sentence: str, *, has_script: bool) -> None:
    """The page comes to the true state by itself, and without JavaScript when it is opened again."""
    if not has_script:
        page.reload()
    expect(page.get_by_text(sentence).first).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("h1")).to_have_count(1)


def _mail(order: Order) -> Step:
    found: Step = order.steps.where(Step.name.in_(MAILS)).order_by(Step.epoch.desc()).get()
    return found
