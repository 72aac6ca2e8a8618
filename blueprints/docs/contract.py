"""`GET /api/v1/openapi.json`: the contract of the API, for programs. No key is needed to read it."""

import functools
import json

import flask

from blueprints.api import openapi
from blueprints.docs.pages import blueprint
from effects.outside import here

# Nothing in it is anybody's, and it changes with a release alone; the ETag makes asking again cheap.
_KEEP_SECONDS = 300


@blueprint.get("/api/v1/openapi.json")
def show_contract() -> flask.Response:
    """The OpenAPI document; 304 for whoever has it already."""
    response = flask.Response(_written(here().settings.public_url), content_type="application/json")
    response.headers["Cache-Control"] = f"public, max-age={_KEEP_SECONDS}"
    response.add_etag()
    response.make_conditional(flask.request)
    return response


@functools.cache
def _written(public_url: str) -> str:
    return json.dumps(openapi.document(server=f"{public_url}/api/v1"), ensure_ascii=False, separators=(",", ":"))
