"""What every page shares: the reader's language, money, moments, addresses of static files, private answers."""

import functools
import hashlib
import re
from datetime import datetime
from pathlib import Path
from urllib.parse import urlencode

import flask_babel
from flask import Flask, Response, abort, current_app, g, has_request_context, make_response, request, url_for
from flask.typing import ResponseReturnValue

from domain import clock, money
from models import Merchant

LANGUAGES = ("de", "en")


def register(app: Flask) -> None:
    """Give templates `locale`, `asset()`, the two language links, and filters for money and moments."""
    app.jinja_env.globals.update(asset=asset, in_language=in_language, other_language=other_language)
    app.jinja_env.filters.update(
        money=show_money, round_money=show_round_money, moment=show_moment, day=show_day, iso=iso, amount=money.decimal
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.context_processor(lambda: {"locale": language()})


def choose_language() -> str:
    """The language of this page, for Flask-Babel: `?lang=`, what the view set in `g.language`, browser, shop."""
    if not has_request_context():
        return LANGUAGES[0]
    asked = request.args.get("lang", "")
    if asked in LANGUAGES:
        return asked
    if g.get("language") in LANGUAGES:
        return str(g.language)
    merchant = g.get("merchant")
    default = merchant.locale if merchant is not None and merchant.locale in LANGUAGES else LANGUAGES[0]
    return request.accept_languages.best_match(LANGUAGES, default) or default


def language() -> str:
    """`de` or `en`: the language this page is written in."""
    locale = flask_babel.get_locale()
    return str(locale.language) if locale is not None and locale.language in LANGUAGES else LANGUAGES[0]


def in_language(url: str) -> str:
    """`url` of a public page, keeping the language when the visitor chose one; no cookie remembers it."""
    asked = request.args.get("lang", "")
    if asked not in LANGUAGES:
        return url
    path, mark, anchor = url.partition("#")
    return f"{path}{'&' if '?' in path else '?'}lang={asked}{mark}{anchor}"


def other_language(code: str) -> str:
    """The page that is being shown, in the language `code`."""
    kept = [(name, value) for name, value in request.args.items(multi=True) if name != "lang"]
    return f"{request.path}?{urlencode([*kept, ('lang', code)])}"


def asset(filename: str) -> str:
    """The address of a static file; it changes with the content, so browsers may keep the file for ever."""
    return url_for("static", filename=filename, v=_fingerprint(Path(current_app.static_folder or "") / filename))


def private(answer: ResponseReturnValue) -> Response:
    """A page behind a secret address: nobody keeps it, lists it, or learns its address from a link on it."""
    response = make_response(answer)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response


def pdf_download(pdf: bytes | None, *, merchant: Merchant, locale: str) -> Response:
    """A stored voucher PDF as a private download; 404 while there is none."""
    if pdf is None:
        abort(404)
    word = "Gutschein" if locale == "de" else "Voucher"
    response = Response(pdf, mimetype="application/pdf")
    response.headers["Content-Disposition"] = f'attachment; filename="{word}-{merchant.slug}.pdf"'
    return private(response)


def show_money(amount_minor: int, currency: str) -> str:
    """`50,00 €` or `€50.00`, in the reader's language."""
    return money.display(amount_minor, currency, language())


def show_round_money(amount_minor: int, currency: str) -> str:
    """`50 €` where nothing stands behind the comma, for choices that should be seen at a glance."""
    unit = 10 ** money.exponent(currency)
    shown = show_money(amount_minor, currency)
    return shown if amount_minor % unit else re.sub(r"[.,]0+(?=\D|$)", "", shown)


def show_moment(at: datetime, time_zone: str, *, has_zone: bool = False) -> str:
    """`24. Dez. 2026, 08:00` in the merchant's time zone; the zone's short name on demand."""
    local = at.astimezone(clock.zone(time_zone))
    pattern = "d. MMM y, HH:mm" if language() == "de" else "d MMM y, HH:mm"
    shown = flask_babel.format_datetime(local, pattern, rebase=False)
    return f"{shown} {local.tzname()}" if has_zone else str(shown)


def show_day(at: datetime, time_zone: str) -> str:
    """`24. Dezember 2026`, the calendar day in the merchant's time zone."""
    pattern = "d. MMMM y" if language() == "de" else "d MMMM y"
    return str(flask_babel.format_datetime(at.astimezone(clock.zone(time_zone)), pattern, rebase=False))


def iso(at: datetime) -> str:
    """The moment as `<time datetime>` wants it."""
    return at.isoformat(timespec="seconds")


@functools.cache
def _fingerprint(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:10] if path.is_file() else "0"
