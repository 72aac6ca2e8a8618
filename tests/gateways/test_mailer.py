"""The mailer against a real SMTP server: what arrives, and what it says when something breaks."""

import dataclasses
import socket
import time
from collections.abc import Iterator
from email.header import decode_header, make_header
from email.utils import parseaddr
from pathlib import Path

import idna
import pytest

from gateways.mailer import Attachment, Failure, Letter, Mailer, MailFailed, postal_address
from tests.smtp import ScriptedServer, self_signed

LETTER = Letter(
    to="anna@example.org",
    subject="Lukas schenkt dir einen Gutschein von Café Alba – 50,00 €",
    text="Liebe Anna,\n.\nein Punkt für dich: äöüß €\n",
    html="<!doctype html><p>Liebe Anna – äöüß €</p>",
    message_id="<v1.step-17.1@shop.example.org>",
    from_name="Café Alba",
    reply_to="hallo@cafe-alba.example",
    attachments=(Attachment("Gutschein-Cafe-Alba.pdf", "application/pdf", b"%PDF-1.7\r\n.\r\n\x00\xff"),),
)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


def _mailer(server: ScriptedServer, *, timeout: float = 5.0, **settings: object) -> Mailer:
    return Mailer(server.host, server.port, sender="shop@example.org", timeout=timeout, **settings)  # type: ignore[arg-type]


def _failure(mailer: Mailer, letter: Letter = LETTER) -> MailFailed:
    with pytest.raises(MailFailed) as caught:
        mailer.send(letter)
    return caught.value


@pytest.mark.req("S1-04")
def test_a_letter_arrives_whole(server: ScriptedServer) -> None:
    accepted = _mailer(server).send(LETTER)

    (arrived,) = server.messages
    assert accepted.reply == "250 2.0.0 Ok: queued as SCRIPTED1"
    assert (arrived.mail_from, arrived.recipients) == ("shop@example.org", ("anna@example.org",))
    message = arrived.message
    assert message["Subject"] == LETTER.subject
    assert message["From"] == "Café Alba <shop@example.org>"
    assert message["To"] == "anna@example.org"
    assert message["Reply-To"] == "hallo@cafe-alba.example"
    assert message["Message-ID"] == LETTER.message_id
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"].datetime.tzinfo is not None
    assert arrived.text == LETTER.text
    assert arrived.html.rstrip("\n") == LETTER.html
    (file,) = message.iter_attachments()
    assert (file.get_filename(), file.get_content_type()) == ("Gutschein-Cafe-Alba.pdf", "application/pdf")
    assert file.get_content() == LETTER.attachments[0].content


def test_a_letter_needs_no_server_that_takes_eight_bits(server: ScriptedServer) -> None:
    _mailer(server).send(LETTER)
    assert server.messages[0].raw.isascii()
    assert max(len(line) for line in server.messages[0].raw.split(b"\r\n")) <= 998


@pytest.mark.parametrize(
    "subject",
    [
        "Dein Gutschein für Anna (50,00 €) – Bestellung G-10480",
        "Übermäßig " * 20 + "lang",
        "A" * 300,
        "李小龍 schenkt dir 🎁 einen Gutschein von Gasthaus & Weingut Oberhauser-Steinbrecher, Gumpoldskirchen",
        'Von "Café, Bar" <alba>; für: Änne',
    ],
)
def test_any_honest_subject_reads_the_same_at_the_other_end(server: ScriptedServer, subject: str) -> None:
    _mailer(server).send(dataclasses.replace(LETTER, subject=subject.strip()))
    head = server.messages[0].raw.split(b"\r\n\r\n", 1)[0].decode()
    folded = head.split("Subject: ", 1)[1].split("\r\nFrom:", 1)[0].replace("\r\n", "")
    assert str(make_header(decode_header(folded))) == subject.strip()


@pytest.mark.parametrize(
    "name",
    ['Café "Alba", Wien', "Bar; Grill <x@y.at>", "Bar\\Grill", "Ä" * 90, "N" * 90, "a@b.at", "", "Żółw & Söhne GmbH"],
)
def test_any_shop_name_is_a_name_and_never_an_address(server: ScriptedServer, name: str) -> None:
    _mailer(server).send(dataclasses.replace(LETTER, from_name=name))
    head = server.messages[0].raw.split(b"\r\n\r\n", 1)[0].decode()
    line = head.split("From: ", 1)[1].split("\r\nTo:", 1)[0].replace("\r\n", "")
    shown, address = parseaddr(line)
    assert (str(make_header(decode_header(shown))), address) == (name, "shop@example.org")
    assert [found.addr_spec for found in server.messages[0].message["From"].addresses] == ["shop@example.org"]


def test_an_international_domain_is_written_in_ascii(server: ScriptedServer) -> None:
    _mailer(server).send(dataclasses.replace(LETTER, to="anna@straße-müller.example"))
    (recipient,) = server.messages[0].recipients
    assert recipient.isascii() and idna.decode(recipient.removeprefix("anna@")) == "straße-müller.example"


@pytest.mark.req("F36")
@pytest.mark.parametrize("stage", ["CONNECT", "MAIL", "RCPT", "DATA", "DOT"])
def test_a_server_that_wants_us_to_wait_is_heard_at_every_stage(server: ScriptedServer, stage: str) -> None:
    server.answer(stage, "451 4.7.1 Greylisted, come back in 5 minutes")
    failed = _failure(_mailer(server))
    assert (failed.kind, failed.code) == (Failure.NOT_NOW, 451)
    assert failed.detail == "4.7.1 Greylisted, come back in 5 minutes"
    assert not server.messages
    _mailer(server).send(LETTER)
    assert len(server.messages) == 1


@pytest.mark.req("F37", "F38")
@pytest.mark.parametrize(
    ("stage", "reply", "kind"),
    [
        ("CONNECT", "554 5.7.1 You are on a list", Failure.OURS),
        ("MAIL", "553 5.1.8 Sender unknown", Failure.OURS),
        ("MAIL", "552 5.3.4 Too large", Failure.REFUSED),
        ("RCPT", "550 5.1.1 No such user", Failure.BAD_ADDRESS),
        ("RCPT", "553 5.1.3 Bad address", Failure.BAD_ADDRESS),
        ("RCPT", "554 5.1.1 Gone", Failure.BAD_ADDRESS),
        ("RCPT", "530 5.7.0 Log in first", Failure.OURS),
        ("DATA", "554 5.5.1 No", Failure.REFUSED),
        ("DOT", "550 5.7.1 Looks like spam", Failure.REFUSED),
        ("DOT", "552 5.3.4 Too large", Failure.REFUSED),
    ],
)
def test_a_no_is_told_apart_by_whose_fault_it_is(server: ScriptedServer, stage: str, reply: str, kind: Failure) -> None:
    server.answer(stage, reply)
    failed = _failure(_mailer(server))
    assert (failed.kind, failed.code) == (kind, int(reply[:3]))
    assert failed.detail == reply[4:]
    assert not server.messages


@pytest.mark.req("F39")
@pytest.mark.parametrize("stage", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "BEFORE_DOT"])
def test_a_line_cut_before_the_dot_means_nobody_has_the_letter(server: ScriptedServer, stage: str) -> None:
    server.drop(stage, times=2)  # a dropped EHLO is followed by an older HELO
    large = Attachment("large.bin", "application/octet-stream", bytes(15_000_000))  # more than the line buffers
    failed = _failure(_mailer(server), dataclasses.replace(LETTER, attachments=(large,)))
    assert failed.kind is Failure.UNREACHABLE
    assert not server.messages


@pytest.mark.req("F39")
def test_a_line_cut_after_the_dot_leaves_the_outcome_open(server: ScriptedServer) -> None:
    server.drop("AFTER_DOT")
    assert _failure(_mailer(server)).kind is Failure.UNKNOWN
    assert len(server.messages) == 1


@pytest.mark.req("F39")
def test_a_silence_after_the_dot_leaves_the_outcome_open(server: ScriptedServer) -> None:
    server.delay("AFTER_DOT", 1.0)
    assert _failure(_mailer(server, timeout=0.4)).kind is Failure.UNKNOWN
    assert len(server.messages) == 1


@pytest.mark.req("F39")
def test_an_accepted_letter_stays_accepted_when_the_server_hangs_up_at_once(server: ScriptedServer) -> None:
    server.drop("AFTER_250")
    assert _mailer(server).send(LETTER).reply == "250 2.0.0 Ok: queued, and good-bye"


@pytest.mark.req("F39")
@pytest.mark.parametrize("stage", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA"])
def test_a_silent_server_is_given_up_in_time(server: ScriptedServer, stage: str) -> None:
    server.delay(stage, 10)
    begun = time.monotonic()
    failed = _failure(_mailer(server, timeout=0.4))
    assert failed.kind is Failure.UNREACHABLE
    assert time.monotonic() - begun < 5


def test_no_server_at_all_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        failed = _failure(Mailer("127.0.0.1", taken.getsockname()[1], sender="shop@example.org"))
    assert failed.kind is Failure.UNREACHABLE


@pytest.mark.req("F38")
def test_the_right_password_opens_and_the_wrong_one_is_our_fault() -> None:
    with ScriptedServer(login=("shop", "right")) as server:
        _mailer(server, username="shop", password="right").send(LETTER)
        failed = _failure(_mailer(server, username="shop", password="wrong"))
        unknown = _failure(_mailer(server))
    assert (failed.kind, failed.code) == (Failure.OURS, 535)
    assert (unknown.kind, unknown.code) == (Failure.OURS, 530)
    assert len(server.messages) == 1


def test_a_log_in_that_has_to_wait_is_no_fault_of_ours() -> None:
    with ScriptedServer(login=("shop", "right")) as server:
        server.answer("AUTH", "454 4.7.0 Temporary authentication failure", times=3)
        failed = _failure(_mailer(server, username="shop", password="right"))
    assert (failed.kind, failed.code) == (Failure.NOT_NOW, 454)


def test_a_server_without_log_in_is_told_as_a_setting_to_mend(server: ScriptedServer) -> None:
    assert _failure(_mailer(server, username="shop", password="x")).kind is Failure.OURS


def test_a_certificate_is_checked_before_anything_is_said(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    with ScriptedServer(login=("shop", "right"), certificate=certificate) as server:
        account = {"username": "shop", "password": "right", "use_tls": True}
        stranger = _failure(_mailer(server, **account))
        _mailer(server, **account, ca_file=str(certificate[0])).send(LETTER)
    assert stranger.kind is Failure.OURS
    assert "certificate" in stranger.detail
    assert len(server.messages) == 1


def test_a_certificate_of_another_host_is_refused(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, name="other.example.org")
    with ScriptedServer(certificate=certificate) as server:
        failed = _failure(_mailer(server, use_tls=True, ca_file=str(certificate[0])))
    assert failed.kind is Failure.OURS
    assert not server.messages


def test_a_missing_authority_file_and_a_plain_server_are_settings_to_mend(server: ScriptedServer) -> None:
    assert _failure(_mailer(server, use_tls=True)).kind is Failure.OURS
    assert _failure(_mailer(server, use_ssl=True, ca_file="nowhere.pem")).kind is Failure.OURS
    assert _failure(_mailer(server, use_ssl=True)).kind in (Failure.OURS, Failure.UNREACHABLE)


def test_the_connection_test_sends_nothing(server: ScriptedServer) -> None:
    _mailer(server).check()
    assert server.connections == 1
    assert not server.messages


@pytest.mark.req("T15")
@pytest.mark.parametrize(
    "address",
    [
        "a@b.at, evil@x.at",
        "<a@b.at>",
        "a@b.at\nRCPT TO:<e@x>",
        "a@b.at\r\nRCPT TO:<e@x.at>",
        '"a b"@x.at',
        "a@[127.0.0.1]",
        "a" * 10_000 + "@x.at",
        "jürgen@example.org",
        "a@@b.at",
        "a@b",
        "a..b@c.at",
        "@b.at",
        "a@",
        "",
        "a@-b.at",
        "a@b.at ",
        "a @b.at",
        "a@b.at\x00",
        "a@b\u2028.at",
        "a@b.at>",
        "a@b.at;c@d.at",
        "a%x@b.at\t",
    ],
)
def test_an_address_is_one_plain_address_or_none(server: ScriptedServer, address: str) -> None:
    failed = _failure(_mailer(server), dataclasses.replace(LETTER, to=address))
    assert failed.kind is Failure.BAD_ADDRESS
    assert server.connections == 0


def test_plain_addresses_of_all_usual_kinds_are_taken() -> None:
    for address in ("a@b.at", "first.last+tag@sub.example.co.uk", "o'brien@example.org", "x_1-2@example.museum"):
        assert postal_address(address) == address
    assert postal_address("Anna@EXAMPLE.org") == "Anna@example.org"


@pytest.mark.req("T14")
@pytest.mark.parametrize(
    "evil",
    [
        "=?UTF-8?B?QQ0KQmNjOiBldmlsQHguYXQ=?=",
        "x\r\nBcc: evil@x.at",
        "x\nBcc: evil@x.at",
        "x\rBcc: evil@x.at",
        "x\u2028Bcc: evil@x.at",
        "x\x85Bcc: evil@x.at",
        "x\x0bBcc: evil@x.at",
        "x\n",
        'x"\r\nBcc: e@x.at\r\n.pdf',
        "\ud800",
    ],
)
@pytest.mark.parametrize("field", ["subject", "from_name", "message_id", "reply_to", "filename", "mime"])
def test_nothing_can_be_smuggled_into_the_head(server: ScriptedServer, field: str, evil: str) -> None:
    if field in ("filename", "mime"):
        attachment = dataclasses.replace(LETTER.attachments[0], **{field: evil})
        letter = dataclasses.replace(LETTER, attachments=(attachment,))
    else:
        letter = dataclasses.replace(LETTER, **{field: evil})
    assert _failure(_mailer(server), letter).kind in (Failure.REFUSED, Failure.OURS)
    assert server.connections == 0


@pytest.mark.req("T16")
@pytest.mark.parametrize(
    "text",
    ["x\n.\n", "x\r.\r", "x\r\n.\r\n", "x\n.\r\nMAIL FROM:<e@x>\r\n", "\n.\n.\n..\n", "x\0y\n"],
)
def test_a_dot_in_a_letter_ends_nothing(server: ScriptedServer, text: str) -> None:
    _mailer(server).send(dataclasses.replace(LETTER, text=text))
    (arrived,) = server.messages
    expected = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    assert arrived.text == expected
    assert arrived.recipients == ("anna@example.org",)


def test_a_refusal_cannot_write_into_our_records(server: ScriptedServer) -> None:
    server.answer("RCPT", "550 5.1.1 \x1b[31mNo\tsuch\x07 user")
    assert _failure(_mailer(server)).detail == "5.1.1 [31mNo such user"


def test_a_letter_sent_twice_keeps_its_number(server: ScriptedServer) -> None:
    long_id = "<v1." + "a" * 90 + ".2@gutscheine.example.org>"
    for _ in range(2):
        _mailer(server).send(dataclasses.replace(LETTER, message_id=long_id))
    assert [arrived.message["Message-ID"].strip() for arrived in server.messages] == [long_id, long_id]
