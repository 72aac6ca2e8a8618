"""Letters to owners: what needs them, in five parts each; one thing or several in one letter."""

from dataclasses import dataclass, field

from gateways import letters, notice_words
from gateways.letters import Locale, Shop
from gateways.mailer import Letter


@dataclass(frozen=True)
class Item:
    """One thing that needs its reader. `values` fill the places of its sentences; amounts and times are text."""

    kind: str
    link: str
    reference: str
    values: dict[str, str] = field(default_factory=dict)


def notice_letter(
    items: tuple[Item, ...],
    *,
    shop: Shop,
    to: str,
    message_id: str,
    locale: Locale,
    link: str,
    reader_name: str = "",
    is_test: bool = False,
) -> Letter:
    """One letter about all of `items`; `link` is where everything that needs the reader is listed."""
    values = {
        "items": tuple((item, notice_words.of(item.kind, item.values, locale=locale)) for item in items),
        "link": link,
        "reader_name": reader_name,
    }
    return letters._written(
        "notice",
        values,
        shop=shop,
        to=to,
        message_id=message_id,
        locale=locale,
        is_test=is_test,
        attachments=(),
    )
