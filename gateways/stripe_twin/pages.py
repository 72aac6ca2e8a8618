"""What all pages of the twin have in common: their headers, their languages, how amounts are written."""

from typing import TypeAlias
from urllib.parse import urlsplit

from flask import Response, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from domain import money
from gateways.stripe_twin import office_words, words

Answer: TypeAlias = Response | BaseResponse


def language(locale: str | None = None) -> str:
    """The page's language: `locale` if we have it, else the browser's, else English."""
    return words.choose(locale, request.accept_languages.values())


def texts(tongue: str) -> dict[str, str]:
    """Every word of every page in one language."""
    return words.of(tongue) | office_words.of(tongue)


def render(
    template: str, *, tongue: str, status: int = 200, origins: tuple[str | None, ...] = (), **facts: object
) -> Answer:
    """A page without scripts. Its forms may lead to itself and to the addresses in `origins`."""
    response = make_response(render_template(template, language=tongue, text=texts(tongue), **facts), status)
    # Browsers apply form-action to the redirect after a form too, so the shop's own address has to be in it.
    allowed = " ".join(sorted({_origin(url) for url in origins if url}))
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action 'self' {allowed}".strip()
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Robots-Tag"] = "noindex"
    return response


def show_missing() -> Answer:
    """The page for an address that leads nowhere."""
    return render("missing.html", tongue=language(), status=404)


def away(url: str) -> Answer:
    """On to another page by GET, so that a reload does nothing twice."""
    return redirect(url, code=303)


def price(amount: int, currency: str, tongue: str) -> str:
    """An amount in Stripe's units as a person reads it."""
    code = currency.upper()
    try:
        return money.display(amount, code, tongue)
    except KeyError:
        return f"{amount} {code}"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
