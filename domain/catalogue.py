"""What a merchant sells: offers, designs, values, limits, and how long a voucher stays valid."""

from datetime import date, datetime

from domain import clock, money
from models import Design, Merchant, Offer

MESSAGE_LIMIT = 300
UNITS_LIMIT = 10
# Country → years, and whether they count from the end of the year. Elsewhere the shorter term is the safe default.
_VALIDITY = {"AT": (30, False), "DE": (3, True)}
_VALIDITY_ELSEWHERE = (3, True)


def offer(merchant: Merchant, slug: str) -> Offer | None:
    """The merchant's active offer with this slug; the first one for an empty slug."""
    offers = merchant.offers
    return (offers.where(Offer.slug == slug) if slug else offers).get_or_none()


def design(merchant: Merchant, slug: str) -> Design | None:
    """The merchant's active design with this slug; the first one for an empty slug."""
    designs = merchant.designs
    return (designs.where(Design.slug == slug) if slug else designs).get_or_none()


def is_sold_at(chosen: Offer, amount_minor: int) -> bool:
    """True when `amount_minor` is one of the offer's values or within the limits of its free amount."""
    if amount_minor in chosen.values_minor:
        return True
    low, high = chosen.min_minor, chosen.max_minor
    return low is not None and high is not None and low <= amount_minor <= high


def limits(chosen: Offer) -> tuple[int, int]:
    """The lowest and highest value of an offer, in minor units."""
    values = list(chosen.values_minor)
    if chosen.has_free_amount:
        values += [chosen.min_minor, chosen.max_minor]
    return min(values), max(values)


def usual_validity(country: str) -> tuple[int, bool]:
    """Years of validity by the law of `country`, and whether to the year's end: a default, never our legal opinion."""
    return _VALIDITY.get(country.upper(), _VALIDITY_ELSEWHERE)


def expiry(bought_on: date, *, years: int | None, is_to_year_end: bool, time_zone: str) -> datetime | None:
    """The last moment of validity, in UTC: the end of a day in the merchant's time zone. None means for ever.

    Three years from 2026-03-10 end on 2029-03-10, or on 2029-12-31 when the law counts from the end of the year.
    """
    if years is None:
        return None
    ends_in = bought_on.year + years
    return clock.end_of_day(date(ends_in, 12, 31) if is_to_year_end else _same_day(bought_on, ends_in), time_zone)


def usual_expiry(merchant: Merchant) -> datetime | None:
    """When a voucher that is issued today ends by the merchant's own rule; None for never."""
    return expiry(
        clock.today(merchant.time_zone),
        years=merchant.validity_years,
        is_to_year_end=merchant.is_validity_to_year_end,
        time_zone=merchant.time_zone,
    )


def stock_shop(merchant: Merchant) -> None:
    """Give a new merchant an offer and designs, so that the shop sells from its first minute."""
    unit = 10 ** money.exponent(merchant.currency)
    title = "Wertgutschein" if merchant.locale == "de" else "Gift voucher"
    Offer.create(
        merchant=merchant,
        slug="value",
        title=title,
        values_minor=[amount * unit for amount in (25, 50, 75, 100, 150)],
        min_minor=10 * unit,
        max_minor=500 * unit,
    )
    names = ("Beere", "Salbei", "Mitternacht") if merchant.locale == "de" else ("Berry", "Sage", "Midnight")
    accents = (merchant.accent, "#4f6b4a", "#2b3a5c")
    for position, (slug, name, accent) in enumerate(zip(("berry", "sage", "midnight"), names, accents, strict=True)):
        Design.create(merchant=merchant, slug=slug, name=name, accent=accent, position=position)


def _same_day(day: date, year: int) -> date:
    try:
        return day.replace(year=year)
    except ValueError:  # 29 February in a year that has none: the buyer keeps the day after
        return date(year, 3, 1)
