"""The letters' words and dress, and that they survive the post."""

import re
from html.parser import HTMLParser

import pytest

from gateways import colours
from gateways.letters import GiftVoucher, Locale, Purchase, ReceiptLine, Shop, pdf_name, receipt_letter, voucher_letter
from gateways.mailer import Letter, Mailer
from tests.smtp import ScriptedServer

SHOP = Shop(
    name="Café Alba",
    lines=("Alba Gastronomie GmbH", "Lindengasse 12, 1070 Wien"),
    contact=("+43 1 555 01 23",),
    reply_to="hallo@cafe-alba.example",
)
VOUCHER = GiftVoucher(
    code="7KQ4-M2XD-9PVT-3HAF",
    link="https://gutscheine.example.org/v/Jm8sT0qXw4nZ",
    value_text="50,00\u00a0€",
    recipient_name="Anna",
    message="Liebe Anna,\nalles Gute & <b>viel</b> Freude!",
    valid_until_text="31.12.2029",
    pdf=b"%PDF-1.7 the voucher",
)
PURCHASE = Purchase("G-10480", "55,00\u00a0€", "https://gutscheine.example.org/o/abc", "24.11.2026")
LINES = (
    ReceiptLine("Gutschein 50,00 €", "50,00\u00a0€", "Anna Berger", "anna@example.org", "am 24.12.2026"),
    ReceiptLine("Abendessen für zwei", "120,00\u00a0€", "Bernd", "bernd@example.org", "sofort"),
)
EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}",
    "{% include 'x' %}",
    "%(x)s {0.__class__}",
    "x\r\nBcc: evil@x.at",
    "=?UTF-8?B?QQ0KQmNjOiBldmlsQHguYXQ=?=",
    "\u202egnp.exe\u2066",
    "a\x00b\x1b[0m",
    "\ud800",
    "W" * 500,
]


def to_recipient(*vouchers: GiftVoucher, locale: Locale = "de", **more: object) -> Letter:
    values = {"shop": SHOP, "to": "anna@example.org", "message_id": "<1@example.org>", "sender_name": "Lukas"} | more
    return voucher_letter(vouchers or (VOUCHER,), locale=locale, **values)  # type: ignore[arg-type]


def to_buyer(*vouchers: GiftVoucher, locale: Locale = "de", **more: object) -> Letter:
    return to_recipient(*vouchers, locale=locale, purchase=PURCHASE, **more)


def receipt(locale: Locale = "de", **more: object) -> Letter:
    values = {"shop": SHOP, "to": "lukas@example.org", "message_id": "<2@example.org>", "purchase": PURCHASE} | more
    return receipt_letter(LINES, locale=locale, buyer_name="Lukas", **values)  # type: ignore[arg-type]


def both_parts(letter: Letter) -> str:
    return letter.text + re.sub("<style>.*?</style>", "", letter.html, flags=re.S)


@pytest.mark.req("S1-04", "S1-16")
@pytest.mark.parametrize(
    ("locale", "subject"),
    [
        ("de", "Lukas schenkt dir einen Gutschein von Café Alba"),
        ("en", "Lukas sent you a gift voucher for Café Alba"),
    ],
)
def test_a_recipient_reads_who_gave_what(locale: Locale, subject: str) -> None:
    letter = to_recipient(locale=locale)
    assert letter.subject == subject
    assert (letter.from_name, letter.reply_to) == ("Café Alba", "hallo@cafe-alba.example")
    for part in (letter.text, letter.html):
        for said in ("Anna", "Lukas", VOUCHER.value_text, VOUCHER.code, VOUCHER.link, "31.12.2029", "Lindengasse 12"):
            assert said in part
    assert [file.content for file in letter.attachments] == [VOUCHER.pdf]


def test_a_recipient_reads_no_price_and_no_order() -> None:
    letter = to_recipient()
    for hidden in (PURCHASE.total_text, PURCHASE.order_number, PURCHASE.order_link):
        assert hidden not in both_parts(letter) + letter.subject


def test_a_buyer_reads_order_and_total() -> None:
    letter = to_buyer()
    assert letter.subject == "Dein Gutschein für Anna (55,00\u00a0€) – Bestellung G-10480".replace("\u00a0", " ")
    for part in (letter.text, letter.html):
        for said in (PURCHASE.total_text, PURCHASE.order_number, PURCHASE.order_link, VOUCHER.code, "24.11.2026"):
            assert said in part


def test_several_vouchers_come_with_a_file_each() -> None:
    other = GiftVoucher(code="AAAA-BBBB-CCCC-DDDD", link="https://x.example/v/2", pdf=b"%PDF-1.7 other")
    letter = to_buyer(VOUCHER, other)
    assert [file.filename for file in letter.attachments] == ["Gutschein-Cafe-Alba-1.pdf", "Gutschein-Cafe-Alba-2.pdf"]
    assert letter.subject.startswith("Deine 2 Gutscheine von Café Alba")
    assert letter.html.count("Gutschein öffnen") == 2


@pytest.mark.req("F33")
def test_without_a_file_the_code_still_arrives_and_nothing_is_promised() -> None:
    letter = to_recipient(GiftVoucher(code=VOUCHER.code, link=VOUCHER.link))
    assert letter.attachments == ()
    assert VOUCHER.code in letter.text
    assert "PDF" not in both_parts(letter)


def test_a_hidden_value_stays_hidden() -> None:
    letter = to_recipient(GiftVoucher(code=VOUCHER.code, link=VOUCHER.link, title="Abendessen für zwei"))
    assert "Abendessen für zwei" in letter.text
    assert "€" not in both_parts(letter)


def test_a_receipt_tells_what_goes_where_but_no_code() -> None:
    letter = receipt()
    for part in (letter.text, letter.html):
        for said in ("Anna Berger", "anna@example.org", "am 24.12.2026", "Abendessen für zwei", PURCHASE.total_text):
            assert said in part
    assert letter.attachments == ()
    assert VOUCHER.code not in both_parts(letter)
    assert "Umsatzsteuer erst beim Einlösen" in letter.text


def test_a_receipt_for_single_purpose_vouchers_shows_their_tax() -> None:
    letter = receipt(tax_lines=("darin 20 % USt.: 9,17 €",))
    for part in (letter.text, letter.html):
        assert "darin 20 % USt.: 9,17 €" in part
        assert "Mehrzweck" not in part


@pytest.mark.parametrize("locale", ["de", "en"])
def test_a_test_letter_says_so_at_once(locale: Locale) -> None:
    for letter in (to_recipient(locale=locale, is_test=True), to_buyer(locale=locale, is_test=True)):
        assert letter.subject.startswith("TEST: ")
        assert letter.text.upper().startswith("TEST")
        assert "Test" in letter.html
    assert receipt(locale, is_test=True).subject.startswith("TEST: ")


@pytest.mark.parametrize("locale", ["de", "en"])
def test_every_letter_is_sound_mail_html(locale: Locale) -> None:
    for letter in (to_recipient(locale=locale), to_buyer(locale=locale), receipt(locale)):
        assert len(letter.html.encode()) < 40_000
        page = _Page(letter.html)
        assert page.open_tags == []
        assert page.tables and all(role == "presentation" for role in page.tables)
        assert page.tags.isdisjoint({"script", "img", "iframe", "form", "link", "object"})
        assert page.count("h1") == 1
        assert f'<html lang="{locale}">' in letter.html
        assert '<meta name="color-scheme" content="light dark">' in letter.html
        assert "\n\n\n" not in letter.text


@pytest.mark.req("T12", "T13", "T14")
@pytest.mark.parametrize("evil", EVIL)
def test_what_people_type_stays_text_all_the_way_to_the_server(evil: str) -> None:
    voucher = GiftVoucher(
        code=VOUCHER.code, link=VOUCHER.link, title=evil, recipient_name=evil, message=evil, value_text="5 €"
    )
    shop = Shop(name=evil, lines=(evil,), contact=(evil,), reply_to="a@b.at")
    with ScriptedServer() as server:
        mailer = Mailer(server.host, server.port, sender="shop@example.org")
        for letter in (
            to_recipient(voucher, sender_name=evil, shop=shop),
            to_buyer(voucher, sender_name=evil, shop=shop),
            receipt(shop=shop),
        ):
            mailer.send(letter)
            plain = _Page(receipt().html).tags | _Page(to_buyer().html).tags
            assert _Page(letter.html).tags <= plain | {"br"}
    assert len(server.messages) == 3
    for arrived in server.messages:
        assert arrived.recipients in {("anna@example.org",), ("lukas@example.org",)}
        assert arrived.message["Bcc"] is None
        assert len(str(arrived.message["Subject"])) < 250


@pytest.mark.parametrize("accent", ["#8a2c4b", "#ffd400", "#ffffff", "#000000", "#00ff00", "#1f5c4d"])
def test_any_accent_can_be_read_by_day_and_by_night(accent: str) -> None:
    assert colours.contrast(colours.readable_on_white(accent), "#ffffff") >= 4.5
    assert colours.contrast(colours.readable_on_dark(accent), "#211e1b") >= 4.5


@pytest.mark.parametrize(
    ("shop", "name"),
    [
        ("Café Alba", "Gutschein-Cafe-Alba.pdf"),
        ("Gasthaus Zum Grünen Bäumle & Söhne", "Gutschein-Gasthaus-Zum-Gruenen-Baeumle-Soehne.pdf"),
        ("李小龍", "Gutschein.pdf"),
        ('../../x"\r\n.exe', "Gutschein-x-exe.pdf"),
    ],
)
def test_a_file_name_is_plain_everywhere(shop: str, name: str) -> None:
    assert pdf_name(shop, locale="de") == name


class _Page(HTMLParser):
    """The tags of a page: which there are, and which were left open."""

    VOID = frozenset({"br", "meta", "img", "input", "hr", "link"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.tables: list[str | None] = []
        self.seen: list[str] = []
        self.feed(html)
        self.close()

    @property
    def tags(self) -> set[str]:
        return set(self.seen)

    def count(self, tag: str) -> int:
        return self.seen.count(tag)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag == "table":
            self.tables.append(dict(attrs).get("role"))
        if tag not in self.VOID:
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag
