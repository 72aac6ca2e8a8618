"""Money is an integer of minor units and an ISO 4217 code. No float ever touches it. Pure."""

import re

# ISO 4217 currencies whose exponent is not 2 (list one of the standard).
_ZERO_DECIMALS = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())
_THREE_DECIMALS = frozenset("BHD IQD JOD KWD LYD OMR TND".split())
_TWO_DECIMALS = frozenset(
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP"
    " CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES"
    " KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK"
    " NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB"
    " TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW".split()
)
CURRENCIES = _ZERO_DECIMALS | _TWO_DECIMALS | _THREE_DECIMALS
_SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥"}
_PART = r"(?:[.,](?P<part>[0-9]{1,3}))?"
_PLAIN = re.compile(r"(?P<whole>[0-9]{1,12})" + _PART)
_GROUPED = re.compile(r"(?P<whole>[1-9][0-9]{0,2}(?:(?P<mark>[ .'])[0-9]{3})(?:(?P=mark)[0-9]{3}){0,3})" + _PART)
MAX_MINOR = 10**15  # far above any voucher, far below the 63 bits of a column


class UnreadableAmount(ValueError):
    """The text is not an amount of this currency; `args[0]` is `not_a_number` or `too_precise`."""


def exponent(currency: str) -> int:
    """Digits after the point of `currency`; KeyError for a code that ISO 4217 does not know."""
    if currency in _TWO_DECIMALS:
        return 2
    if currency in _ZERO_DECIMALS:
        return 0
    if currency in _THREE_DECIMALS:
        return 3
    raise KeyError(currency)


def parse(text: str, currency: str) -> int:
    """Minor units of an amount as people type it: `50`, `50,00`, `50.00`, `1 250,50`, `€ 50`.

    Raises UnreadableAmount for anything else, digits of other scripts and more decimals than the currency has included.
    """
    cleaned = text.replace("\u00a0", " ").replace("\u202f", " ").strip()
    for mark in (_SYMBOLS.get(currency, ""), currency):
        cleaned = cleaned.removeprefix(mark).removesuffix(mark).strip() if mark else cleaned
    decimals = exponent(currency)
    # `1.500` is fifteen hundred, but one and a half where a currency has three decimals.
    forms = (_PLAIN, _GROUPED) if decimals == 3 else (_GROUPED, _PLAIN)
    match = forms[0].fullmatch(cleaned) or forms[1].fullmatch(cleaned)
    if match is None:
        raise UnreadableAmount("not_a_number")
    part = match["part"] or ""
    # Three digits behind the mark where the currency has two: `1,250` may mean a thousand, so ask rather than guess.
    if len(part.rstrip("0")) > decimals or len(part) == 3 > decimals:
        raise UnreadableAmount("too_precise")
    whole = re.sub("[^0-9]", "", match["whole"])
    amount = int(whole + (part + "000")[:decimals])
    if amount > MAX_MINOR:
        raise UnreadableAmount("not_a_number")
    return amount


def decimal(amount_minor: int, currency: str) -> str:
    """Plain digits with a point, as forms and data files want them: `50.00`, `-0.05`, `500` for JPY."""
    decimals = exponent(currency)
    sign = "-" if amount_minor < 0 else ""
    digits = str(abs(amount_minor)).rjust(decimals + 1, "0")
    return sign + (f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits)


def display(amount_minor: int, currency: str, locale: str) -> str:
    """How a person reads it: `1.250,00 €` in German, `€1,250.00` in English. Spaces are unbreakable."""
    plain = decimal(abs(amount_minor), currency)
    whole, _, part = plain.partition(".")
    group, point = (".", ",") if locale == "de" else (",", ".")
    grouped = f"{int(whole):,}".replace(",", group) + (point + part if part else "")
    sign = "−" if amount_minor < 0 else ""
    symbol = _SYMBOLS.get(currency)
    if locale == "de":
        return f"{sign}{grouped}\u00a0{symbol or currency}"
    return f"{sign}{symbol}{grouped}" if symbol else f"{sign}{currency}\u00a0{grouped}"
