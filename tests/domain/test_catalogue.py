"""What is sold at which value, and how long it lasts."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import catalogue, money
from models import Design, Merchant, Offer
from tests import cast as casting

VIENNA = "Europe/Vienna"
zones = st.sampled_from(
    [VIENNA, "UTC", "America/New_York", "America/Havana", "Asia/Kolkata", "Asia/Beirut", "Africa/Cairo",
     "Australia/Lord_Howe", "Pacific/Kiritimati", "Pacific/Pago_Pago", "America/Santiago", "Atlantic/Azores"]
)  # fmt: skip


def _expiry(bought_on: date, years: int, *, is_to_year_end: bool = False, zone: str = VIENNA) -> datetime:
    end = catalogue.expiry(bought_on, years=years, is_to_year_end=is_to_year_end, time_zone=zone)
    assert end is not None
    return end


def _offer(**facts: object) -> Offer:
    return Offer(**({"values_minor": [2500, 5000], "min_minor": None, "max_minor": None} | facts))


@pytest.mark.req("F59")
@pytest.mark.parametrize(
    ("bought_on", "years", "is_to_year_end", "last_day"),
    [
        (date(2026, 3, 10), 3, False, date(2029, 3, 10)), (date(2026, 3, 10), 3, True, date(2029, 12, 31)),
        (date(2026, 12, 31), 3, True, date(2029, 12, 31)), (date(2026, 1, 1), 1, False, date(2027, 1, 1)),
        (date(2024, 2, 29), 4, False, date(2028, 2, 29)), (date(2024, 2, 29), 3, False, date(2027, 3, 1)),
        (date(2024, 2, 29), 3, True, date(2027, 12, 31)), (date(2026, 3, 10), 30, False, date(2056, 3, 10)),
        (date(2023, 2, 28), 1, False, date(2024, 2, 28)), (date(2026, 2, 28), 2, False, date(2028, 2, 28)),
    ],
)  # fmt: skip
def test_the_last_day_is_counted_as_the_law_counts(
    bought_on: date, years: int, is_to_year_end: bool, last_day: date
) -> None:
    end = _expiry(bought_on, years, is_to_year_end=is_to_year_end)
    assert end.astimezone(ZoneInfo(VIENNA)).date() == last_day


def test_without_years_a_voucher_is_valid_for_ever() -> None:
    assert catalogue.expiry(date(2026, 3, 10), years=None, is_to_year_end=True, time_zone=VIENNA) is None


@pytest.mark.req("F59")
@pytest.mark.parametrize(
    ("bought_on", "zone", "end"),
    [
        (date(2026, 7, 1), VIENNA, datetime(2027, 7, 1, 21, 59, 59, 999999, UTC)),
        (date(2026, 1, 1), VIENNA, datetime(2027, 1, 1, 22, 59, 59, 999999, UTC)),
        (date(2026, 3, 28), VIENNA, datetime(2027, 3, 28, 21, 59, 59, 999999, UTC)),  # summer time begins on that day
        (date(2025, 10, 25), VIENNA, datetime(2026, 10, 25, 22, 59, 59, 999999, UTC)),  # and ends on that one
        (date(2026, 5, 5), "Pacific/Kiritimati", datetime(2027, 5, 5, 9, 59, 59, 999999, UTC)),
        (date(2026, 5, 5), "Pacific/Pago_Pago", datetime(2027, 5, 6, 10, 59, 59, 999999, UTC)),
    ],
)  # fmt: skip
def test_a_voucher_is_good_until_midnight_where_the_merchant_is(bought_on: date, zone: str, end: datetime) -> None:
    assert _expiry(bought_on, 1, zone=zone) == end


@pytest.mark.req("F59")
def test_a_last_day_whose_last_hour_comes_twice_lasts_until_the_second_one_is_over() -> None:
    # In Egypt the clock goes back from midnight to 23:00 on the last Thursday of October.
    end = _expiry(date(2025, 10, 29), 1, zone="Africa/Cairo")
    assert end == datetime(2026, 10, 29, 21, 59, 59, 999999, UTC)


@pytest.mark.req("F59")
@settings(deadline=None)
@given(st.dates(date(2020, 1, 1), date(2040, 1, 1)), st.integers(1, 30), zones)
def test_the_end_is_the_very_last_moment_of_a_day(bought_on: date, years: int, zone: str) -> None:
    end = _expiry(bought_on, years, zone=zone)
    last, after = (moment.astimezone(ZoneInfo(zone)).date() for moment in (end, end + timedelta(microseconds=1)))
    assert after == last + timedelta(days=1)
    assert last >= date(bought_on.year + years, bought_on.month, min(bought_on.day, 28))


@pytest.mark.req("T4")
@pytest.mark.parametrize(
    ("value", "is_sold"),
    [(2500, True), (5000, True), (3000, False), (0, False), (-2500, False), (2501, False), (10**18, False)],
)
def test_an_offer_with_fixed_values_is_sold_at_these_alone(value: int, is_sold: bool) -> None:
    assert catalogue.is_sold_at(_offer(), value) == is_sold


@pytest.mark.req("T4")
@pytest.mark.parametrize(
    ("value", "is_sold"), [(999, False), (1000, True), (1001, True), (50000, True), (50001, False), (-1000, False)]
)
def test_a_free_amount_is_sold_within_its_limits(value: int, is_sold: bool) -> None:
    assert catalogue.is_sold_at(_offer(min_minor=1000, max_minor=50000), value) == is_sold


def test_the_limits_of_an_offer_span_its_values_and_its_free_amount() -> None:
    assert catalogue.limits(_offer()) == (2500, 5000)
    assert catalogue.limits(_offer(min_minor=1000, max_minor=4000)) == (1000, 5000)


def test_a_new_shop_sells_at_once_in_the_units_of_its_currency(cast: casting.Cast) -> None:
    for slug, currency in (("tokyo", "JPY"), ("kuwait", "KWD"), ("wien", "EUR")):
        shop = Merchant.create(slug=slug, name=slug, currency=currency)
        catalogue.stock_shop(shop)
        (offer,) = shop.offers
        assert catalogue.limits(offer) == (10 * 10 ** money.exponent(currency), 500 * 10 ** money.exponent(currency))
        assert shop.designs.count() == 3


def test_an_offer_is_found_by_its_slug_or_the_first_one_is_taken(cast: casting.Cast) -> None:
    second = Offer.create(merchant=cast.alba, slug="dinner", title="Dinner", values_minor=[9000], position=1)
    assert catalogue.offer(cast.alba, "dinner") == second
    assert catalogue.offer(cast.alba, "").slug == "value"
    assert catalogue.offer(cast.alba, "nothing") is None


@pytest.mark.req("T6")
def test_offers_and_designs_of_another_shop_or_withdrawn_ones_are_not_found(cast: casting.Cast) -> None:
    Offer.create(merchant=cast.berg, slug="spa", title="Spa", values_minor=[9000])
    Design.create(merchant=cast.berg, slug="snow", name="Snow")
    assert catalogue.offer(cast.alba, "spa") is None
    assert catalogue.design(cast.alba, "snow") is None
    Offer.update(is_active=False).where(Offer.merchant == cast.alba).execute()
    Design.update(is_active=False).where(Design.merchant == cast.alba).execute()
    assert catalogue.offer(cast.alba, "") is None
    assert catalogue.design(cast.alba, "berry") is None
