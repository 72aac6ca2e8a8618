"""The colours of a shop as a style sheet: its accent and each design's, always readable on light and dark paper."""

import colorsys
import re

from gateways import colours
from models import Merchant

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_WINE = "#8a2c4b"
_DARK_CARD = "#1e1b18"
_CONTRAST_AT_NIGHT = 6.5  # light text on dark paper glows; a little more than the 4.5 of the norm reads better
_SLUG = re.compile(r"[a-z0-9-]+")


def style_sheet(merchant: Merchant) -> str:
    """CSS that sets the accent tokens of app.css and one class for each of the merchant's designs."""
    rules = [f":root {{ {_tokens('accent', merchant.accent)} }}"]
    rules += [
        f".design-{design.slug} {{ {_tokens('design', design.accent)} }}"
        for design in merchant.designs
        if _SLUG.fullmatch(design.slug)
    ]
    return "\n".join(rules) + "\n"


def _tokens(name: str, accent: str) -> str:
    # Whatever a merchant typed, only a colour goes into the style sheet.
    colour = accent if _COLOUR.fullmatch(accent) else _WINE
    light, dark = colours.readable_on_white(colour), _at_night(colour)
    return f"--{name}-light: {light}; --{name}-dark: {dark};"


def _at_night(colour: str) -> str:
    """`colour` made lighter, in its own hue, until it can be read on dark paper."""
    red, green, blue = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    while colours.contrast(colour, _DARK_CARD) < _CONTRAST_AT_NIGHT and lightness < 1:
        lightness = min(1.0, lightness + 0.02)
        colour = "#" + "".join(f"{round(part * 255):02x}" for part in colorsys.hls_to_rgb(hue, lightness, saturation))
    return colour
