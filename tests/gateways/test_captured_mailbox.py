"""The demo's mailbox: letters sent by the real mailer, read again from the file."""

import multiprocessing
from pathlib import Path

import pytest

from gateways import captured_mailbox
from gateways.captured_mailbox import Mailbox
from gateways.mailer import Attachment, Letter, Mailer

LETTER = Letter(
    to="anna@example.org",
    subject="Lukas schenkt dir einen Gutschein von Café Alba",
    text="Liebe Anna, äöü €\n",
    html="<p>Liebe Anna</p>",
    message_id="<1@example.org>",
    from_name="Café Alba",
    attachments=(Attachment("Gutschein-Cafe-Alba.pdf", "application/pdf", b"%PDF-1.7 \x00\xff"),),
)


@pytest.mark.req("S1-04")
def test_a_sent_letter_can_be_opened_with_all_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "mailbox.sqlite"
    server = captured_mailbox.serve(path)
    try:
        Mailer("127.0.0.1", server.port, sender="shop@example.org").send(LETTER)
    finally:
        server.stop()

    (listed,) = Mailbox(path).list()
    assert (listed.sender, listed.recipient, listed.subject) == ("shop@example.org", LETTER.to, LETTER.subject)
    assert listed.attachments == ("Gutschein-Cafe-Alba.pdf",)
    assert listed.received_at.tzinfo is not None
    opened = Mailbox(path).read(listed.id)
    assert opened.captured == listed
    assert dict(opened.headers)["Message-ID"] == "<1@example.org>"
    assert (opened.text, opened.html.strip()) == (LETTER.text, LETTER.html)
    assert opened.attachments == LETTER.attachments
    assert Mailbox(path).attachment(listed.id, 0) == LETTER.attachments[0]


def test_the_newest_letter_stands_first_and_only_so_many_are_kept(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path / "mailbox.sqlite")
    for number in range(captured_mailbox.LETTERS_KEPT + 5):
        mailbox.receive("a@b.at", ["c@d.at"], f"Subject: {number}\r\n\r\nx\r\n".encode())
    letters = mailbox.list()
    assert len(letters) == captured_mailbox.LETTERS_KEPT
    assert [letter.subject for letter in letters[:2]] == ["504", "503"]


def test_what_is_not_there_is_a_key_error(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path / "mailbox.sqlite")
    assert mailbox.list() == ()
    mailbox.receive("a@b.at", ["c@d.at"], b"Subject: x\r\n\r\nx\r\n")
    for call in (lambda: mailbox.read(99), lambda: mailbox.attachment(1, 0), lambda: mailbox.attachment(1, -1)):
        with pytest.raises(KeyError):
            call()


@pytest.mark.parametrize(
    "raw", [b"", b"\xff\xfe\x00", b"no headers at all", b"Subject: =?utf-8?q?=ff?=\r\nTo: <\r\n\r\n\xff", b"\r\n" * 9]
)
def test_a_broken_letter_is_kept_and_shown_as_far_as_it_goes(tmp_path: Path, raw: bytes) -> None:
    mailbox = Mailbox(tmp_path / "mailbox.sqlite")
    mailbox.receive("", ["c@d.at"], raw)
    (letter,) = mailbox.list()
    assert mailbox.read(letter.id).captured.recipient == "c@d.at"


def test_several_processes_write_and_read_one_mailbox(tmp_path: Path) -> None:
    path = tmp_path / "mailbox.sqlite"
    Mailbox(path)
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write, args=(str(path), number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
        assert writer.exitcode == 0
    assert len(Mailbox(path).list()) == 60


def _write(path: str, number: int) -> None:
    mailbox = Mailbox(path)
    for count in range(20):
        mailbox.receive(f"{number}@b.at", ["c@d.at"], f"Subject: {count}\r\n\r\nx\r\n".encode())
