"""Voucher codes: sixteen characters of Crockford's base 32, the last one a check character. Pure.

Fifteen random characters are 75 bits. Reading forgives case, spaces, dashes and the look-alikes O/0, I/L/1.
"""

import secrets
import unicodedata
from collections.abc import Callable

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 16
_LOOKALIKES = str.maketrans({"O": "0", "I": "1", "L": "1"})
# Separators that people type or scanners and word processors put between the groups.
_SEPARATORS = " -–—_.\u2010\u2011\u2212\t\u00a0"


def generate(choose: Callable[[str], str] = secrets.choice) -> str:
    """A fresh code without dashes; `choose` picks one character (a test may choose badly)."""
    body = "".join(choose(ALPHABET) for _ in range(LENGTH - 1))
    return body + _check(body)


def normalise(text: str) -> str:
    """`text` as the look-up wants it: upper case, no separators, look-alikes resolved. Never fails."""
    return _plain(text).translate(_LOOKALIKES)


def is_well_formed(code: str) -> bool:
    """True when a normalised code could have been ours: length, alphabet and check character are right."""
    return len(code) == LENGTH and all(c in ALPHABET for c in code) and _check(code[:-1]) == code[-1]


def grouped(code: str) -> str:
    """`7KQ4-M2XD-9PVT-3HAF`: the way a code is printed."""
    return "-".join(code[start : start + 4] for start in range(0, len(code), 4))


def printed(code: str) -> str:
    """A code of ours in groups; another system's as its holders know it."""
    return grouped(code) if is_well_formed(code) else code


def last4(code: str) -> str:
    """The part of a code that may be shown."""
    return _plain(code)[-4:]


def endings(text: str) -> tuple[str, str]:
    """What `last4` may be of a code with this ending: as it was typed, and with look-alikes resolved."""
    return _plain(text), normalise(text)


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).upper()
    return "".join(character for character in folded if character not in _SEPARATORS)


def _check(body: str) -> str:
    # Odd weights are units modulo 32, so each single wrong character is found, and so are most neighbours swapped.
    total = sum((2 * place + 1) * ALPHABET.index(character) for place, character in enumerate(body))
    return ALPHABET[total % len(ALPHABET)]
