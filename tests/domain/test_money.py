"""Money: integers of minor units, typed by people, read by tills, never a float."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import money

currencies = st.sampled_from(sorted(money.CURRENCIES))
amounts = st.integers(min_value=0, max_value=10**12 - 1)


@pytest.mark.req("F30")
@settings(deadline=None)
@given(currencies, amounts)
def test_what_a_form_shows_reads_back_as_the_same_amount(currency: str, amount_minor: int) -> None:
    assert money.parse(money.decimal(amount_minor, currency), currency) == amount_minor


@pytest.mark.req("F30")
@settings(deadline=None)
@given(currencies, st.integers(min_value=0, max_value=10**9))
def test_the_german_way_to_write_it_reads_back_as_the_same_amount(currency: str, amount_minor: int) -> None:
    assert money.parse(money.display(amount_minor, currency, "de"), currency) == amount_minor


@pytest.mark.req("F30")
@settings(deadline=None)
@given(currencies, st.integers(min_value=-(10**15), max_value=10**15))
def test_plain_digits_carry_exactly_the_decimals_of_the_currency(currency: str, amount_minor: int) -> None:
    text = money.decimal(amount_minor, currency)
    assert len(text.partition(".")[2]) == money.exponent(currency)
    assert int(text.replace(".", "")) == amount_minor


@pytest.mark.req("F30")
def test_every_currency_has_one_exponent() -> None:
    assert {money.exponent(currency) for currency in money.CURRENCIES} == {0, 2, 3}
    assert len(money.CURRENCIES) == len(money._ZERO_DECIMALS) + len(money._TWO_DECIMALS) + len(money._THREE_DECIMALS)


@pytest.mark.req("T4")
@pytest.mark.parametrize("currency", ["eur", "EURO", "", "XXX", "EU", "€"])
def test_a_currency_that_iso_does_not_know_has_no_exponent(currency: str) -> None:
    with pytest.raises(KeyError):
        money.exponent(currency)


@pytest.mark.parametrize(
    ("text", "currency", "amount_minor"),
    [
        ("50", "EUR", 5000), ("50,00", "EUR", 5000), ("50.00", "EUR", 5000), ("50,5", "EUR", 5050),
        (" 50 ", "EUR", 5000), ("€ 50", "EUR", 5000), ("50 €", "EUR", 5000), ("50 EUR", "EUR", 5000),
        ("$50", "USD", 5000), ("1 250.00", "EUR", 125000),
        ("1 250,50", "EUR", 125050), ("1.250,50", "EUR", 125050), ("1.250", "EUR", 125000), ("1'250.50", "CHF", 125050),
        ("1\u00a0250,50\u00a0€", "EUR", 125050), ("1\u202f250", "EUR", 125000), ("0", "EUR", 0), ("0,05", "EUR", 5),
        ("5000", "JPY", 5000), ("5.000", "JPY", 5000), ("5000.00", "JPY", 5000), ("¥5000", "JPY", 5000),
        ("1.500", "KWD", 1500), ("12,500", "BHD", 12500), ("1.250,500", "KWD", 1250500), ("1 250", "KWD", 1250000),
        ("1.250.000", "KWD", 1250000000), ("0.005", "TND", 5),
    ],
)  # fmt: skip
def test_an_amount_is_read_as_people_type_it(text: str, currency: str, amount_minor: int) -> None:
    assert money.parse(text, currency) == amount_minor


@pytest.mark.req("T4")
@pytest.mark.parametrize(
    "text",
    [
        "-50", "+50", "1e2", "1e400", "NaN", "Infinity", "-Infinity", "true", "[50]", '{"$gt":0}', "٥٠", "５０", "5_0",
        "50\0", "\0", "", " ", "€", "0x32", "5 0", "1.25.0", "1..5", ",50", "50,", "12.34.567", "1 250.000.00", "50;1",
        "50\n1", "½", "²", "fifty", "50 USD", "$50", str(2**63), "9" * 5000, "1" + ".000" * 2000, "1" + " 000" * 5,
        "0 500", "1.250 000", "1 250.50,00",
    ],
)  # fmt: skip
def test_whatever_is_no_amount_is_refused_as_unreadable(text: str) -> None:
    with pytest.raises(money.UnreadableAmount, match="not_a_number"):
        money.parse(text, "EUR")


@pytest.mark.req("T4")
@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("1,250", "EUR"),
        ("0.001", "EUR"),
        ("0,005", "EUR"),
        ("50,005", "EUR"),
        ("50.5", "JPY"),
        ("50,01", "JPY"),
        ("1234,567", "EUR"),
    ],
)
def test_more_decimals_than_the_currency_has_are_refused_and_never_rounded(text: str, currency: str) -> None:
    with pytest.raises(money.UnreadableAmount, match="too_precise"):
        money.parse(text, currency)


@pytest.mark.req("T4")
@settings(deadline=None)
@given(st.text(max_size=40), currencies)
def test_any_text_is_an_amount_of_whole_minor_units_or_unreadable(text: str, currency: str) -> None:
    try:
        amount_minor = money.parse(text, currency)
    except money.UnreadableAmount:
        return
    assert type(amount_minor) is int
    assert 0 <= amount_minor <= money.MAX_MINOR


@pytest.mark.parametrize(
    ("amount_minor", "currency", "locale", "shown"),
    [
        (125000, "EUR", "de", "1.250,00\u00a0€"), (125000, "EUR", "en", "€1,250.00"), (5, "EUR", "de", "0,05\u00a0€"),
        (-5, "EUR", "en", "−€0.05"), (500, "JPY", "en", "¥500"), (1500, "KWD", "de", "1,500\u00a0KWD"),
        (1234567, "KWD", "en", "KWD\u00a01,234.567"), (0, "EUR", "de", "0,00\u00a0€"),
    ],
)  # fmt: skip
def test_an_amount_is_shown_as_the_reader_writes_it(amount_minor: int, currency: str, locale: str, shown: str) -> None:
    assert money.display(amount_minor, currency, locale) == shown
