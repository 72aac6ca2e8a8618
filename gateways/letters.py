"""The words that go out: finished letters from plain values, in the language of the reader.

One folder per letter and language in `templates/mail/<letter>/<locale>/`: subject.txt, body.txt, body.html. They are
rendered in the worker, without a request.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jinja2

from gateways import colours
from gateways.mailer import Attachment, Letter

Locale = Literal["de", "en"]

_TEMPLATES = Path(__file__).resolve().parent.parent / "templates" / "mail"
_LONGEST_IN_SUBJECT = 60
_SPELLED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "€": "EUR"})


@dataclass(frozen=True)
class Shop:
    """Who writes. `lines` is the imprint at the foot; `accent` is `#rrggbb`; `reply_to` where answers go."""

    name: str
    lines: tuple[str, ...] = ()
    contact: tuple[str, ...] = ()
    accent: str = "#8a2c4b"
    reply_to: str | None = None


@dataclass(frozen=True)
class GiftVoucher:
    """One voucher as the reader sees it. `value_text` is empty when hidden; `pdf` None when there is none yet.

    With `is_pdf_late` the letter says where the PDF will be found.
    """

    code: str
    link: str
    value_text: str = ""
    title: str | None = None
    recipient_name: str = ""
    message: str = ""
    valid_until_text: str = ""
    pdf: bytes | None = None
    is_pdf_late: bool = False


@dataclass(frozen=True)
class Purchase:
    """What the buyer paid for: number, total and the page that shows how it stands."""

    order_number: str
    total_text: str
    order_link: str
    purchased_on_text: str = ""


@dataclass(frozen=True)
class ReceiptLine:
    """One voucher of a purchase that goes to somebody else: to whom, and when in words (`sofort`, `am 24.12.2026`)."""

    what: str
    price_text: str
    recipient_name: str = ""
    recipient_email: str = ""
    when_text: str = ""


def voucher_letter(
    vouchers: tuple[GiftVoucher, ...],
    *,
    shop: Shop,
    to: str,
    message_id: str,
    locale: Locale,
    sender_name: str = "",
    purchase: Purchase | None = None,
    is_test: bool = False,
) -> Letter:
    """The vouchers for the person who gets them, or, with `purchase`, for the buyer: number and total included.

    A recipient never reads a price beyond the value of the voucher itself.
    """
    name = "voucher_buyer" if purchase else "voucher_recipient"
    is_pdf_late = any(voucher.is_pdf_late for voucher in vouchers)
    values = {"vouchers": vouchers, "sender_name": sender_name, "purchase": purchase, "is_pdf_late": is_pdf_late}
    return _written(
        name,
        values,
        shop=shop,
        to=to,
        message_id=message_id,
        locale=locale,
        is_test=is_test,
        attachments=_files(vouchers, shop=shop, locale=locale),
    )


def receipt_letter(
    lines: tuple[ReceiptLine, ...],
    *,
    shop: Shop,
    to: str,
    message_id: str,
    locale: Locale,
    purchase: Purchase,
    buyer_name: str = "",
    tax_lines: tuple[str, ...] = (),
    is_test: bool = False,
) -> Letter:
    """The buyer's confirmation when the vouchers go to others: what, to whom, when, total. No code and no PDF.

    `tax_lines` only for single-purpose vouchers; without them the letter says that tax falls due on redemption.
    """
    values = {"lines": lines, "purchase": purchase, "buyer_name": buyer_name, "tax_lines": tax_lines}
    return _written(
        "receipt", values, shop=shop, to=to, message_id=message_id, locale=locale, is_test=is_test, attachments=()
    )


def trial_letter(*, shop: Shop, to: str, message_id: str, locale: Locale) -> Letter:
    """A letter that sells nothing and only shows that letters arrive, for whoever sets the mail server up."""
    return _written("trial", {}, shop=shop, to=to, message_id=message_id, locale=locale, is_test=False, attachments=())


def pdf_name(shop_name: str, *, locale: Locale, number: int | None = None) -> str:
    """`Gutschein-Cafe-Alba.pdf`, in plain ASCII; with a number when there are several."""
    decomposed = unicodedata.normalize("NFKD", shop_name.translate(_SPELLED)).encode("ascii", "ignore").decode()
    plain = "-".join(re.findall("[A-Za-z0-9]+", decomposed))[:50].strip("-")
    word = "Gutschein" if locale == "de" else "Voucher"
    return "-".join(filter(None, (word, plain, str(number) if number else ""))) + ".pdf"


def _written(
    name: str,
    values: dict[str, Any],
    *,
    shop: Shop,
    to: str,
    message_id: str,
    locale: Locale,
    is_test: bool,
    attachments: tuple[Attachment, ...],
) -> Letter:
    context = values | {
        "shop": shop,
        "locale": locale,
        "is_test": is_test,
        "has_pdf": bool(attachments),
        "accent": colours.readable_on_white(shop.accent),
        "accent_at_night": colours.readable_on_dark(shop.accent),
    }
    subject = _one_line(_template(f"{name}/{locale}/subject.txt").render(context))
    return Letter(
        to=to,
        subject=f"TEST: {subject}" if is_test else subject,
        text=_tidy(_template(f"{name}/{locale}/body.txt").render(context)),
        html=_template(f"{name}/{locale}/body.html").render(context),
        message_id=message_id,
        from_name=_for_header(shop.name, most=100),
        reply_to=shop.reply_to,
        attachments=attachments,
    )


def _files(vouchers: tuple[GiftVoucher, ...], *, shop: Shop, locale: Locale) -> tuple[Attachment, ...]:
    printed = [voucher.pdf for voucher in vouchers if voucher.pdf]
    return tuple(
        Attachment(
            pdf_name(shop.name, locale=locale, number=number if len(printed) > 1 else None), "application/pdf", pdf
        )
        for number, pdf in enumerate(printed, start=1)
    )


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["in_subject"] = _for_header
    environment.filters["quoted"] = _quoted
    return environment


def _template(path: str) -> jinja2.Template:
    return _environment().get_template(path)


def _for_header(text: str, most: int = _LONGEST_IN_SUBJECT) -> str:
    """`text` as part of a header: one line, not too long, nothing that a mail reader would decode again."""
    line = _one_line(text).replace("=?", "= ?")
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def _one_line(text: str) -> str:
    kept = (letter for letter in text if unicodedata.category(letter) not in ("Cf", "Cs"))
    spaced = (" " if unicodedata.category(letter) in ("Cc", "Zl", "Zp") else letter for letter in kept)
    return " ".join("".join(spaced).split())


def _quoted(text: str) -> str:
    """Somebody's own words in the text part, told apart from ours on every line."""
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())


def _tidy(text: str) -> str:
    return re.sub("\n{3,}", "\n\n", text).strip() + "\n"
