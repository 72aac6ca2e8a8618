"""Puts the twin together as one Flask app."""

from pathlib import Path

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from gateways.stripe_twin import engine, pages, wire
from gateways.stripe_twin.api import api
from gateways.stripe_twin.api_v2 import api_v2
from gateways.stripe_twin.connect_page import connect_page
from gateways.stripe_twin.delivery import Delivery
from gateways.stripe_twin.office_page import office_page
from gateways.stripe_twin.pay_page import pay_page
from gateways.stripe_twin.shapes import ShapeError
from gateways.stripe_twin.store import Store
from gateways.stripe_twin.wire import WireError

_MAX_REQUEST_BYTES = 256 * 1024


def create_twin(*, store: Path, secret_key: str, webhook_secret: str, webhook_url: str, public_url: str) -> Flask:
    """A WSGI app, to be mounted at any prefix. `store` is its SQLite file, shared by all processes that serve it.

    `public_url` is its address in the buyer's browser, `webhook_url` ours on this machine ("" sends no events).
    Raises ValueError for a key that does not start with `sk_test_` and for an address on another machine.
    """
    if not secret_key.startswith("sk_test_"):
        raise ValueError("the twin takes keys that start with sk_test_ only: it must never stand in for real money")
    app = Flask("gateways.stripe_twin")
    app.config["MAX_CONTENT_LENGTH"] = _MAX_REQUEST_BYTES
    memory = Store(store)
    delivery = Delivery(memory, webhook_url=webhook_url, webhook_secret=webhook_secret)
    engine.install(app, engine.Engine(memory, delivery, secret_key, public_url.rstrip("/")))
    for rooms in (api, api_v2, pay_page, connect_page, office_page):
        app.register_blueprint(rooms)
    app.register_error_handler(WireError, _answer_error)
    app.register_error_handler(ShapeError, _answer_shape_error)
    app.register_error_handler(HTTPException, _answer_http_error)
    return app


def _answer_error(error: WireError) -> Response:
    body = wire.dump(error.body)
    return Response(body, status=error.status, headers=error.headers, content_type="application/json")


def _answer_shape_error(error: ShapeError) -> Response:
    return _answer_error(WireError(str(error), status=500, kind="api_error"))


def _answer_http_error(error: HTTPException) -> Response | BaseResponse:
    if request.path.startswith(("/v1/", "/v2/")):
        return _answer_error(WireError(error.name, status=error.code or 400))
    return pages.show_missing() if error.code == 404 else error.get_response()
