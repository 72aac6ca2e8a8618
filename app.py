"""create_app(): settings, database, extensions, blueprints, error pages, commands. Wiring only, no logic."""

import secrets
import sys
from datetime import timedelta
from urllib.parse import urlsplit

import flask
import flask_babel
import flask_wtf
import structlog
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

import blueprints
import cli
import config
import database
import tasks
from blueprints import auth, errors, headers, htmx, limits, presentation
from effects import outside
from gateways import stripe_twin


def create_app(settings: config.Settings | None = None) -> flask.Flask:
    """The whole product as one WSGI app. Raises ConfigError when a setting is missing or wrong."""
    settings = settings or config.load()
    app = flask.Flask(__name__)
    app.config.from_mapping(_flask_config(settings))
    _configure_log()
    database.connect(settings.database_url)
    app.extensions["outside"] = outside.build(settings, ring=tasks.kick)
    tasks.connect(app, settings)
    _connect_requests(app)
    _extend(app, settings)
    blueprints.register(app, csrf=flask_wtf.CSRFProtect(app), is_demo=settings.is_demo)
    errors.register(app)
    cli.register(app)
    _stand_behind_proxies(app, settings)
    return app


def _flask_config(settings: config.Settings) -> dict[str, object]:
    is_redis = settings.queue_url.startswith("redis")
    is_https = settings.public_url.startswith("https://")
    return {
        "SECRET_KEY": settings.session_key,
        "SECRET_KEY_FALLBACKS": settings.old_session_keys,
        "SESSION_COOKIE_NAME": "__Host-session" if is_https else "session",
        "SESSION_COOKIE_SECURE": is_https,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_HTTPONLY": True,
        "PERMANENT_SESSION_LIFETIME": auth.LONGEST_SESSION,
        "MAX_CONTENT_LENGTH": limits.BODY_OF_FORM,
        "MAX_FORM_MEMORY_SIZE": limits.BODY_OF_FORM,
        "MAX_FORM_PARTS": 500,
        "SEND_FILE_MAX_AGE_DEFAULT": timedelta(days=365),
        "WTF_CSRF_TIME_LIMIT": None,  # as long as the session; a merchant's tab stays open for days
        "RATELIMIT_STORAGE_URI": settings.queue_url if is_redis else "memory://",
        "RATELIMIT_STORAGE_OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1} if is_redis else {},
        # Redis away must not take the shop with it: limits are then counted in the process.
        "RATELIMIT_IN_MEMORY_FALLBACK_ENABLED": True,
        "RATELIMIT_SWALLOW_ERRORS": True,
        # A name that is not ours in the Host header is refused, so that no link can be made to follow it.
        "TRUSTED_HOSTS": [urlsplit(settings.public_url).hostname, "127.0.0.1", "localhost"] if is_https else None,
    }


def _connect_requests(app: flask.Flask) -> None:
    @app.before_request
    def open_connection() -> None:
        flask.g.request_id = secrets.token_hex(8)
        structlog.contextvars.bind_contextvars(request_id=flask.g.request_id)
        flask.g.is_connection_ours = database.db.connect(reuse_if_open=True)

    @app.teardown_request
    def close_connection(error: BaseException | None) -> None:
        structlog.contextvars.clear_contextvars()
        if flask.g.pop("is_connection_ours", False):
            database.db.close()

    app.after_request(headers.protect)


def _extend(app: flask.Flask, settings: config.Settings) -> None:
    htmx.register(app)
    presentation.register(app)
    flask_babel.Babel(app, locale_selector=presentation.choose_language, default_locale="en")
    limits.limiter.init_app(app)
    auth.register(app)
    app.jinja_env.globals.update(test_mode=settings.is_test)


def _stand_behind_proxies(app: flask.Flask, settings: config.Settings) -> None:
    if settings.is_demo:
        twin = stripe_twin.create_twin(
            store=settings.twin_file,
            secret_key=settings.stripe_key,
            webhook_secret=settings.webhook_secrets[0],
            webhook_url=f"{settings.loopback_url}/webhooks/stripe",
            public_url=f"{settings.public_url}/demo/stripe",
        )
        app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/demo/stripe": twin})  # type: ignore[method-assign]
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]


def _configure_log() -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
