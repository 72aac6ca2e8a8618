"""Signing in and out: password, a signed session cookie that names a token, and nothing that outlives a log-out."""

import re
import secrets
from datetime import datetime, timedelta

from flask import Blueprint, Flask, current_app, make_response, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import LoginManager, current_user, login_user
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect
from werkzeug.urls import iri_to_uri

from blueprints import htmx, limits
from database import transaction
from domain import clock
from gateways import passwords
from models import User

LONGEST_SESSION = timedelta(hours=12)
# An open dashboard asks for news by itself and stays signed in; a closed one does not.
LONGEST_SILENCE = timedelta(minutes=30)
# The cookie is written again at most this often.
_SEEN_EVERY = timedelta(minutes=1)
_OWN_PATH = re.compile(r"/dashboard(?:/[A-Za-z0-9_-]+)*(?:\?[A-Za-z0-9_=&%.+@-]*)?")

blueprint = Blueprint("auth", __name__)
login_manager = LoginManager()
# Flask-Login's own fingerprint trusts a header that anybody can send; the token and the two limits above do the work.
login_manager.session_protection = None


def register(app: Flask) -> None:
    """Let Flask-Login find the signed-in user of each request."""
    login_manager.init_app(app)


@blueprint.get("/login")
def login() -> ResponseReturnValue:
    """The form; somebody who is signed in already goes straight on."""
    if current_user.is_authenticated:
        return htmx.redirect(destination(request.args.get("next", "")))
    return _form(status=200)


@blueprint.post("/login")
@limits.limiter.limit("30 per minute")
@limits.limiter.limit("10 per minute", key_func=lambda: f"{request.remote_addr} {_typed_email()}")
def sign_in() -> ResponseReturnValue:
    """Check e-mail and password; whatever is wrong, the answer is the same."""
    user = _user_by_email(request.form.get("email", ""))
    password = request.form.get("password", "")
    if not passwords.verify(user.password_hash if user else None, password) or user is None:
        return _form(status=422, email=request.form.get("email", "")[:254], error=_("E-mail or password is wrong."))
    if passwords.is_outdated(user.password_hash):
        with transaction():
            User.update(password_hash=passwords.hash(password)).where(User.id == user.id).execute()
    session.clear()
    login_user(user)
    now = clock.now().timestamp()
    session.update(signed_in_at=now, seen_at=now)
    return htmx.redirect(destination(request.form.get("next", "")))


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    """Sign out everywhere: the token changes, so a copied cookie opens nothing any more."""
    if current_user.is_authenticated:
        with transaction():
            User.update(session_token=new_session_token()).where(User.id == current_user.id).execute()
    session.clear()
    return htmx.redirect(url_for("auth.login"))


def new_session_token() -> str:
    """A fresh token for a user's sessions: 256 random bits."""
    return secrets.token_urlsafe(32)


def destination(wanted: str) -> str:
    """`wanted` when it is a page of the dashboard, else its home: never another site."""
    return wanted if _is_own_page(wanted) else url_for("dashboard.home")


@login_manager.user_loader
def load_user(token: str) -> User | None:
    """The user whose sessions carry `token`, unless this session is too old or was silent for too long."""
    if not _is_session_fresh():
        return None
    return User.get_or_none(User.session_token == token, User.is_active)


@login_manager.unauthorized_handler
def ask_to_sign_in() -> ResponseReturnValue:
    """To the log-in form and back again afterwards; under htmx the whole page goes there, not a fragment of it."""
    return htmx.redirect(url_for("auth.login", next=_page_asked_for() or None))


def _form(*, status: int, email: str = "", error: str = "") -> ResponseReturnValue:
    wanted = request.values.get("next", "")
    context = {"has_session": True, "email": email, "error": error, "next": wanted if _is_own_page(wanted) else ""}
    response = make_response(render_template("auth/login.html", **context), status)
    # It carries a token of this visitor's session and, after a slip, the address that was typed.
    response.headers["Cache-Control"] = "no-store"
    return response


def _typed_email() -> str:
    return request.form.get("email", "").strip().lower()[:254]


def _user_by_email(typed: str) -> User | None:
    email = typed.strip().lower()
    # PostgreSQL refuses NUL in any text; such an address is nobody's.
    return User.get_or_none(User.email == email, User.is_active) if email and "\0" not in email else None


def _is_session_fresh() -> bool:
    now = clock.now()
    signed_in_at, seen_at = _moment("signed_in_at"), _moment("seen_at")
    if signed_in_at is None or seen_at is None:
        return False
    if now - signed_in_at > LONGEST_SESSION or now - seen_at > LONGEST_SILENCE:
        return False
    if now - seen_at > _SEEN_EVERY:
        session["seen_at"] = now.timestamp()
    return True


def _moment(name: str) -> datetime | None:
    stored = session.get(name)
    return datetime.fromtimestamp(stored, tz=clock.now().tzinfo) if isinstance(stored, int | float) else None


def _page_asked_for() -> str:
    if request.method in ("GET", "HEAD"):
        # The path as the browser sent it: an umlaut in the search must come back as it was.
        asked = iri_to_uri(request.full_path).rstrip("?")
        return asked if _is_own_page(asked) else ""
    number = (request.view_args or {}).get("number")
    return url_for("dashboard.order", number=number) if number else ""


def _is_own_page(wanted: str) -> bool:
    """True for a path of the dashboard that a page answers; anything else could lead to another site."""
    if not _OWN_PATH.fullmatch(wanted):
        return False
    try:
        current_app.create_url_adapter(request).match(wanted.partition("?")[0], method="GET")
    except (HTTPException, RequestRedirect):
        return False
    return True
