"""How large each text of a voucher may stand, so that long names and messages shrink instead of running over. Pure.

Sizes are points. A letter's width is an estimate, on the wide side; wrapping takes care of the rest.
"""

import math
import unicodedata
from collections.abc import Mapping
from typing import Any

from gateways import colours

COLUMN_MM = 95.0
_CARD_MM = 90.0  # height for the gift, below the heading
_MM_PER_PT = 0.3528
_FIGURE = 0.53
_LETTER = 0.5  # average width of a letter in parts of the size
_MESSAGE_PT = (18.0, 17.0, 16.0, 15.0, 14.0, 13.0, 12.0, 11.0)
_MESSAGE_LEADING = 1.38
_BROAD = frozenset("WMm%@—")
_SIZES_THAT_KEEP_LINES = 6  # down to 13 it is worth shrinking so that lines end where the buyer ended them
_LETTER_OF_ITALICS = 0.41


def of(order: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the template needs besides the words: sizes in points, the message as set, a readable accent."""
    is_value_first = not order["title"]
    sizes = {
        "issuer_pt": _fitting(order["issuer_name"], most=19, least=10),
        "recipient_pt": _fitting(order["recipient_name"], most=30 if is_value_first else 24, least=13),
        "title_pt": _fitting(order["title"] or "", most=23 if order["value_text"] else 40, least=14),
        "value_pt": _one_line(order["value_text"], most=56 if is_value_first else 40),
        "sender_pt": _fitting(order["sender_name"], most=13, least=10),
    }
    room_mm = _room_for_message(order, sizes)
    message, message_pt = _message(order["message"], room_mm=room_mm)
    return sizes | {
        "message_set": message,
        "message_pt": message_pt,
        "ink_accent": colours.readable_on_white(order["accent"]),
    }


def _one_line(text: str, *, most: float) -> float:
    """The largest size at which `text`, mostly figures, stands on one line, however small."""
    width = _width(text) * _FIGURE * _MM_PER_PT
    return round(min(most, COLUMN_MM / width), 1) if width else most


def _fitting(text: str, *, most: float, least: float) -> float:
    """The largest size at which `text` stands on one line of the column, or well below that on two."""
    width = _width(text) * _LETTER * _MM_PER_PT
    if not width:
        return most
    one_line, two_lines = COLUMN_MM / width, 1.8 * COLUMN_MM / width
    return round(min(most, max(least, one_line, min(two_lines, most * 0.7))), 1)


def _message(text: str, *, room_mm: float) -> tuple[str, float]:
    """The message and its size: 18 down to 11. A poem with too many lines is set on with strokes / as in print."""
    for size in _MESSAGE_PT[:_SIZES_THAT_KEEP_LINES]:
        if "\n" in text and _longest_line_mm(text, size) <= COLUMN_MM and _height_mm(text, size) <= room_mm:
            return text, size
    for candidate in (text, " / ".join(line.strip() for line in text.split("\n") if line.strip())):
        for size in _MESSAGE_PT:
            if _height_mm(candidate, size) <= room_mm:
                return candidate, size
    return candidate, _MESSAGE_PT[-1]


def _longest_line_mm(text: str, size: float) -> float:
    return max(_width(line) for line in text.split("\n")) * size * _MM_PER_PT * _LETTER_OF_ITALICS


def _height_mm(text: str, size: float, *, leading: float = _MESSAGE_LEADING) -> float:
    per_line = COLUMN_MM / (size * _MM_PER_PT * _LETTER)
    lines = sum(max(1, math.ceil(_width(line) / per_line)) for line in text.split("\n"))
    return lines * size * leading * _MM_PER_PT


def _room_for_message(order: Mapping[str, Any], sizes: Mapping[str, float]) -> float:
    """What the other lines and their gaps leave of the card's height."""
    used = 0.0
    for field, size, gap_mm in (
        ("recipient_name", "recipient_pt", 5.0),
        ("title", "title_pt", 3.0),
        ("value_text", "value_pt", 2.0),
        ("sender_name", "sender_pt", 3.0),
    ):
        if order[field]:
            used += gap_mm + _height_mm(order[field], sizes[size], leading=1.17)
    return _CARD_MM - used - (4.0 if order["message"] else 0) - (6.0 if order["title"] else 0)


def _width(text: str) -> float:
    """Letters, with wide ones and emoji counted for more and marks for nothing."""
    return sum(_letter_width(letter) for letter in text)


def _letter_width(letter: str) -> float:
    if unicodedata.combining(letter):
        return 0.0
    if _is_wide(letter):
        return 2.6
    if letter in _BROAD:
        return 1.9
    return 1.3 if letter.isupper() else 1.0


def _is_wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF" or unicodedata.category(letter) == "So"
