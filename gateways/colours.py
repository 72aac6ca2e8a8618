"""A shop's accent colour, kept readable whatever the shop chose. Colours are `#rrggbb`. Pure."""

READABLE_CONTRAST = 4.5  # WCAG 2.2 AA, for text of any size
_EASY_CONTRAST = 6.0
_NIGHT = "#211e1b"  # the card's ground in the dark variant of a letter


def readable_on_white(accent: str) -> str:
    """`accent`, darkened just until text of it can be read on white, and white text on it."""
    channels = _channels(accent)
    while contrast(_text(channels), "#ffffff") < READABLE_CONTRAST:
        channels = [int(channel * 0.95) for channel in channels]
    return _text(channels)


def readable_on_dark(accent: str, ground: str = _NIGHT) -> str:
    """`accent`, lightened until text of it can be read on `ground`, thin letters too."""
    channels = _channels(accent)
    while contrast(_text(channels), ground) < _EASY_CONTRAST:
        channels = [channel + max(1, (255 - channel) // 16) if channel < 255 else 255 for channel in channels]
    return _text(channels)


def contrast(first: str, second: str) -> float:
    """The ratio of WCAG 2.2, from 1 to 21."""
    darker, lighter = sorted((_luminance(first), _luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
        for share in (channel / 255 for channel in _channels(colour))
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _channels(colour: str) -> list[int]:
    return [int(colour[start : start + 2], 16) for start in (1, 3, 5)]


def _text(channels: list[int]) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in channels)
