"""Reports of returned mail, as the servers of this world write them, and as nobody should."""

import base64
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateways import bounces
from gateways.bounces import Action, BounceReport

ID = "<ord_5kq2.1.deliver_recipient.1@shop.example>"


def text(sample: str) -> bytes:
    return textwrap.dedent(sample).lstrip("\n").replace("ID!", ID).replace("\n", "\r\n").encode()


POSTFIX = text("""
    Return-Path: <>
    Received: by mail.relay.example (Postfix) id 4XkQ; Sun, 22 Nov 2026 15:00:00 +0100 (CET)
    Date: Sun, 22 Nov 2026 15:00:00 +0100 (CET)
    From: MAILER-DAEMON@mail.relay.example (Mail Delivery System)
    Subject: Undelivered Mail Returned to Sender
    To: bounces@shop.example
    Auto-Submitted: auto-replied
    MIME-Version: 1.0
    Content-Type: multipart/report; report-type=delivery-status;
    \tboundary="4XkQ.1/mail.relay.example"
    Message-Id: <20261122140000.4XkQ@mail.relay.example>

    This is a MIME-encapsulated message.

    --4XkQ.1/mail.relay.example
    Content-Description: Notification
    Content-Type: text/plain; charset=us-ascii

    I'm sorry to have to inform you that your message could not be delivered.

    --4XkQ.1/mail.relay.example
    Content-Description: Delivery report
    Content-Type: message/delivery-status

    Reporting-MTA: dns; mail.relay.example
    X-Postfix-Queue-ID: 4XkQ
    X-Postfix-Sender: rfc822; bounces@shop.example
    Arrival-Date: Sun, 22 Nov 2026 14:59:58 +0100 (CET)

    Final-Recipient: rfc822; marie@example.com
    Original-Recipient: rfc822;marie@example.com
    Action: failed
    Status: 5.1.1
    Remote-MTA: dns; mx.example.com
    Diagnostic-Code: smtp; 550 5.1.1 <marie@example.com>: Recipient address
        rejected: User unknown

    --4XkQ.1/mail.relay.example
    Content-Description: Undelivered Message
    Content-Type: message/rfc822

    Subject: Lukas sent you a gift voucher
    From: "Alba" <vouchers@shop.example>
    To: marie@example.com
    Message-ID: ID!
    MIME-Version: 1.0
    Content-Type: multipart/mixed; boundary="inner"

    --inner
    Content-Type: text/plain

    Hello Marie
    --inner--

    --4XkQ.1/mail.relay.example--
    """)
EXCHANGE = text("""
    From: Microsoft Outlook <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@firma.example>
    To: <bounces@shop.example>
    Date: Sun, 22 Nov 2026 14:00:05 +0000
    Content-Type: multipart/report; report-type="DELIVERY-STATUS";
    \tboundary="_c8f0_"
    X-MS-Exchange-Message-Is-Ndr:
    Content-Language: de-DE
    Message-ID: <c8f0@firma.example>
    In-Reply-To: ID!
    References: ID!
    Subject: Unzustellbar: Lukas schenkt dir einen Gutschein
    Auto-Submitted: auto-replied
    MIME-Version: 1.0

    --_c8f0_
    Content-Type: multipart/alternative; differences=Content-Type;
    \tboundary="_8f0a_"

    --_8f0a_
    Content-Type: text/plain; charset="utf-8"
    Content-Transfer-Encoding: base64

    RmVobGVy

    --_8f0a_--

    --_c8f0_
    Content-Type: message/delivery-status

    Reporting-MTA: dns;EX01.firma.example
    Received-From-MTA: dns;mail.relay.example

    Original-Recipient: rfc822;Marie@Example.com
    Final-Recipient: rfc822;marie.huber@firma.example
    Action: failed
    Status: 5.1.10
    Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup
    X-Display-Name: marie.huber@firma.example

    --_c8f0_
    Content-Type: text/rfc822-headers

    Received: from mail.relay.example by EX01.firma.example
    Subject: Lukas schenkt dir einen Gutschein
    Message-ID:
     ID!
    From: Alba <vouchers@shop.example>

    --_c8f0_--
    """)
QMAIL = text("""
    From: MAILER-DAEMON@qmail.example
    To: bounces@shop.example
    Subject: failure notice
    Date: 22 Nov 2026 14:00:00 -0000

    Hi. This is the qmail-send program at qmail.example.
    I'm afraid I wasn't able to deliver your message to the following addresses.
    This is a permanent error; I've given up. Sorry it didn't work out.

    <marie@example.com>:
    192.0.2.7 does not like recipient.
    Remote host said: 550 5.1.1 unknown
    Giving up on 192.0.2.7.

    --- Below this line is a copy of the message.

    Return-Path: <bounces@shop.example>
    Subject: Lukas sent you a gift voucher
    Message-ID: ID!
    From: Alba <vouchers@shop.example>

    Hello Marie
    """)
DELAYED = POSTFIX.replace(b"Action: failed", b"Action: delayed").replace(b"Status: 5.1.1", b"Status: 4.4.1")


@pytest.mark.req("F41")
def test_postfix_says_who_and_why() -> None:
    assert bounces.read(POSTFIX) == (
        BounceReport(
            message_id=ID,
            recipient="marie@example.com",
            action=Action.FAILED,
            status="5.1.1",
            diagnostic="550 5.1.1 <marie@example.com>: Recipient address rejected: User unknown",
        ),
    )


@pytest.mark.req("F41")
def test_exchange_passed_it_on_and_returns_only_the_head() -> None:
    (report,) = bounces.read(EXCHANGE)
    assert (report.message_id, report.action, report.status) == (ID, "failed", "5.1.10")
    assert (report.recipient, report.forwarded_to) == ("Marie@Example.com", "marie.huber@firma.example")
    assert report.is_about("marie@example.com") and report.is_about("marie.huber@firma.example")
    assert not report.is_about("anna@example.com")


@pytest.mark.req("F41")
def test_qmail_speaks_its_own_dialect() -> None:
    (report,) = bounces.read(QMAIL)
    assert (report.message_id, report.recipient, report.action) == (ID, "marie@example.com", "failed")
    assert report.status == "5.1.1" and "does not like recipient" in report.diagnostic


@pytest.mark.req("F41")
@pytest.mark.parametrize("action", ["failed", "delayed", "delivered", "relayed", "expanded"])
def test_every_word_of_the_standard_is_understood(action: str) -> None:
    (report,) = bounces.read(POSTFIX.replace(b"Action: failed", f"Action: {action.title()} (so to say)".encode()))
    assert report.action == action


@pytest.mark.req("F41")
def test_a_report_about_several_people_is_a_report_for_each() -> None:
    second = b"\r\n\r\nFinal-Recipient: rfc822; jonas@example.com\r\nAction: delayed\r\nStatus: 4.2.2\r\n"
    raw = POSTFIX.replace(b"rejected: User unknown\r\n", b"rejected: User unknown" + second)
    assert [(each.recipient, each.action, each.status) for each in bounces.read(raw)] == [
        ("marie@example.com", "failed", "5.1.1"), ("jonas@example.com", "delayed", "4.2.2"),
    ]  # fmt: skip


@pytest.mark.req("F41")
def test_the_original_may_come_encoded_or_not_at_all() -> None:
    head, _, rest = POSTFIX.partition(b"Content-Type: message/rfc822\r\n\r\n")
    original, boundary, end = rest.partition(b"\r\n--4XkQ.1/mail.relay.example--")
    encoded = base64.encodebytes(original)
    for kind in (b"message/rfc822", b"text/rfc822-headers"):
        how = b"Content-Type: " + kind + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        assert [each.message_id for each in bounces.read(head + how + encoded + boundary + end)] == [ID]
    fields = POSTFIX[
        POSTFIX.index(b"Reporting-MTA") : POSTFIX.index(
            b"\r\n--4XkQ.1/mail.relay.example\r\nContent-Description: Undel"
        )
    ]
    packed = b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(fields)
    (report,) = bounces.read(POSTFIX.replace(b"\r\n" + fields, packed))
    assert (report.recipient, report.status) == ("marie@example.com", "5.1.1")
    without = EXCHANGE[: EXCHANGE.index(b"--_c8f0_\r\nContent-Type: text/rfc822-headers")] + b"--_c8f0_--\r\n"
    assert [each.message_id for each in bounces.read(without)] == [ID]


@pytest.mark.req("F41")
def test_a_gateway_may_wrap_the_report_but_a_letter_that_encloses_one_is_no_report() -> None:
    wrapped = (
        b"Content-Type: multipart/mixed; boundary=outer\r\n\r\n--outer\r\n"
        + POSTFIX[POSTFIX.index(b"MIME-Version") :]
        + b"\r\n--outer\r\nContent-Type: text/plain\r\n\r\nscanned\r\n--outer--\r\n"
    )
    assert [each.message_id for each in bounces.read(wrapped)] == [ID]
    forwarded = b"Subject: look\r\nContent-Type: message/rfc822\r\n\r\n" + POSTFIX
    assert bounces.read(forwarded) == ()


@pytest.mark.req("F41")
@pytest.mark.parametrize(
    "take_away",
    [
        b"Content-Type: message/delivery-status",
        b"Action: failed",
        b"Final-Recipient: rfc822; marie@example.com\r\nOrig",
    ],
)
def test_a_report_without_its_heart_is_none(take_away: bytes) -> None:
    assert take_away in POSTFIX
    assert bounces.read(POSTFIX.replace(take_away, b"X-Nothing: x")) == ()


@pytest.mark.req("F41")
def test_a_missing_status_is_found_in_the_diagnostic_or_left_empty() -> None:
    (found,) = bounces.read(POSTFIX.replace(b"Status: 5.1.1\r\n", b""))
    assert found.status == "5.1.1"
    (none,) = bounces.read(POSTFIX.replace(b"Status: 5.1.1\r\n", b"Status: gone\r\n").replace(b"550 5.1.1", b"550"))
    assert none.status == ""


@pytest.mark.req("F41")
@pytest.mark.parametrize("sample", [POSTFIX, EXCHANGE, QMAIL], ids=["postfix", "exchange", "qmail"])
def test_plain_newlines_are_as_good(sample: bytes) -> None:
    assert bounces.read(sample.replace(b"\r\n", b"\n")) == bounces.read(sample) != ()


@pytest.mark.req("F41", "T17")
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00" * 1000,
        b"\xff\xfe" * 5000,
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=\"\r\n\r\n",
        b"Content-Type: multipart/report; boundary=a\r\n\r\n--a\r\n" * 3000,
        b"".join(f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n".encode() for n in range(5000)),
        b"Content-Type: message/rfc822\r\n\r\n" * 20_000,
        b"Content-Type: text/plain; charset=\xff\xff\r\n\r\nHi. This is the \xff",
        b"Subject: hello\r\n\r\nI am on holiday until Monday.",
        b"A: " + b"x" * 3_000_000,
    ],
    ids=["empty", "zeros", "binary", "no-boundary", "unclosed", "nested", "matryoshka", "charset", "holiday", "huge"],
)  # fmt: skip
def test_garbage_is_no_report_and_raises_nothing(raw: bytes) -> None:
    assert bounces.read(raw) == ()


@pytest.mark.req("F41")
def test_a_huge_report_is_read_as_far_as_it_matters() -> None:
    huge = POSTFIX.replace(b"Hello Marie", b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 60_000)
    assert len(huge) > 4_000_000
    assert [each.status for each in bounces.read(huge)] == ["5.1.1"]
    many = b"\r\n".join(b"Final-Recipient: rfc822; a@b.at\r\nAction: failed\r\n" for _ in range(5000))
    assert len(bounces.read(POSTFIX.replace(b"Final-Recipient", many + b"\r\nFinal-Recipient", 1))) == 20


@pytest.mark.req("F41", "T37")
def test_what_a_server_says_cannot_write_into_our_records() -> None:
    raw = POSTFIX.replace(b"rejected: User", b"\x1b[31mrejected\x07\xe2\x80\xa8: User")
    (report,) = bounces.read(raw)
    assert report.diagnostic.isprintable()


@settings(max_examples=300, deadline=None)
@given(
    sample=st.sampled_from([POSTFIX, EXCHANGE, QMAIL, DELAYED]),
    place=st.floats(0, 1),
    length=st.integers(0, 200),
    noise=st.binary(max_size=60),
)
def test_a_damaged_report_never_raises_and_names_nobody_elses_letter(
    sample: bytes, place: float, length: int, noise: bytes
) -> None:
    start = int(place * len(sample))
    for report in bounces.read(sample[:start] + noise + sample[start + length :]):
        assert "@" in report.recipient and report.message_id.startswith("<")
        assert report.diagnostic == "" or report.diagnostic.isprintable()
