"""Security headers on every answer. A page may set its own policy before; nothing is ever loosened here."""

from urllib.parse import urlsplit

import flask

from effects.outside import here

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; frame-src 'self'; form-action 'self' {pay_pages}; frame-ancestors 'none'; base-uri 'none'"
)

_STRIPE = ("https://checkout.stripe.com", "https://connect.stripe.com")


def protect(response: flask.Response) -> flask.Response:
    """Add what is missing of the content policy, sniffing, referrer, framing and transport headers."""
    headers = response.headers
    headers.setdefault("Content-Security-Policy", _POLICY.format(pay_pages=_pay_pages()))
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "strict-origin-when-cross-origin")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    headers.setdefault("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
    headers.setdefault("X-Request-Id", flask.g.get("request_id", ""))
    if flask.request.is_secure:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    return response


def _pay_pages() -> str:
    # A browser applies form-action to the redirect after the form too, and that leads to the payment page.
    settings = here().settings
    stripe = (settings.stripe_base,) if settings.stripe_base else _STRIPE
    pages = (settings.public_url, *stripe)
    return " ".join(f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, pages))
