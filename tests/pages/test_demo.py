"""The promise of the first minute: the demo runs, and a sale made in the browser ends with a PDF in the mailbox."""

import json
import re
import time
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from tests import papers
from tests.pages.conftest import Demo, downloaded, has_no_sideways_scroll

pytestmark = pytest.mark.timeout(240)


def buy(person: Page, *, email: str) -> None:
    """From the shop to the pay page."""
    person.goto("/s/cafe-alba")
    assert has_no_sideways_scroll(person)
    person.locator("input[name=buyer_email]").fill(email)
    person.get_by_role("button", name=re.compile("Jetzt kaufen")).click()
    expect(person.get_by_role("button", name=re.compile("bezahlen$")).first).to_be_visible()
    assert has_no_sideways_scroll(person)


@pytest.mark.req("S1-01", "S1-04", "S1-10", "S1-21")
def test_a_sale_in_the_browser_ends_with_a_pdf_in_the_mailbox_within_five_seconds(
    person: Page, demo: Demo, tmp_path: Path
) -> None:
    email = f"lukas{time.time_ns()}@example.com"
    buy(person, email=email)
    paid_at = time.monotonic()
    person.get_by_role("button", name=re.compile("bezahlen$")).first.click()
    expect(person).to_have_url(re.compile("/o/"))
    while email not in requests.get(f"{demo.url}/demo/mailbox", timeout=5).text:
        assert time.monotonic() < paid_at + 20, "no mail came"
        time.sleep(0.05)
    print(f"paid → mailbox: {time.monotonic() - paid_at:.2f} s")
    person.reload()
    pdf = downloaded(person, "PDF herunterladen", tmp_path)
    till = sales_till(demo)
    answer = till(papers.qr_of(pdf))
    assert answer["valid"] and answer["voucher"]["code_last4"] == papers.code_of(pdf)[-4:]
    person.goto("/demo/mailbox")
    person.get_by_role("link", name=re.compile(email)).click()
    expect(
        person.get_by_text("application/pdf").or_(person.get_by_role("link", name=re.compile(r"\.pdf"))).first
    ).to_be_visible()
    assert has_no_sideways_scroll(person)


@pytest.mark.req("S1-02", "S1-06")
def test_a_declined_card_and_a_lost_message_end_well(person: Page, demo: Demo) -> None:
    buy(person, email=f"anna{time.time_ns()}@example.com")
    person.get_by_role("button", name=re.compile("ablehnen")).click()
    expect(person.get_by_text(re.compile("abgelehnt")).first).to_be_visible()
    person.get_by_role("button", name=re.compile("Nachricht verlieren")).click()
    expect(person).to_have_url(re.compile("/o/"))
    # Nobody told the shop; the page that the buyer came back to has asked Stripe itself.
    expect(person.get_by_text(re.compile("ezahlt")).first).to_be_visible()
    assert '"clean": true' in demo.flask("audit")


@pytest.mark.req("S1-30", "S1-33")
def test_the_desk_sees_the_stuck_mail_and_sends_it_to_another_address(merchant_at_desk: Page, demo: Demo) -> None:
    desk = merchant_at_desk
    desk.goto("/dashboard")
    desk.locator("input[name=email]").fill("anna@cafe-alba.example")
    desk.locator("input[name=password]").fill("alba-demo-2026")
    desk.locator("form[action*=login] button[type=submit], form[action*=login] button:not([type])").first.click()
    desk.goto("/dashboard/orders?q=marie")
    desk.get_by_role("link", name=re.compile("G-10001")).first.click()
    expect(desk.get_by_text("550 5.1.1").first).to_be_attached()
    field = desk.locator("form[action$='/address'] input[name=email]").first
    field.fill("marie@example.com")
    desk.locator("form[action$='/address'] button").first.click()
    expect(desk.get_by_text("marie@example.com").first).to_be_visible()
    deadline = time.monotonic() + 20
    while "marie@example.com" not in requests.get(f"{demo.url}/demo/mailbox", timeout=5).text:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert has_no_sideways_scroll(desk)


@pytest.mark.req("S1-37")
def test_the_commands_beside_the_demo_work_on_its_data(demo: Demo) -> None:
    assert json.loads(demo.flask("audit"))["clean"] is True
    assert "✗" not in demo.flask("doctor").replace("✗ secrets", "")
    key = demo.flask("api-key", "create", "--merchant", "cafe-alba", "--name", "Bar", "--scope", "pos:validate")
    assert re.fullmatch(r"gv_test_\w+_[\w-]{43}", key)
    assert json.loads(demo.flask("reconcile")) is not None
    assert requests.get(f"{demo.url}/readyz", timeout=5).json()["status"] == "ok"


def sales_till(demo: Demo):  # type: ignore[no-untyped-def]
    """A till that validates by code or scan."""
    scopes = ("--scope", "pos:validate", "--scope", "pos:redeem")
    key = demo.flask("api-key", "create", "--merchant", "cafe-alba", "--name", "Bar", *scopes)

    def validate(code: str) -> dict[str, object]:
        body = {"code": code, "amount_minor": 100, "currency": "EUR"}
        headers = {"Authorization": f"Bearer {key}"}
        return dict(requests.post(f"{demo.url}/api/v1/vouchers/validate", json=body, headers=headers, timeout=5).json())

    return validate
