"""The contract in OpenAPI: valid, true to the code, and the same set of error codes everywhere."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import flask
import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from blueprints.api import examples, openapi, problems
from blueprints.api.calls import CALLS, Call
from domain import refusals
from tests.browser import Browser

ROOT = Path(__file__).parents[2]
ADDRESS = "/api/v1/openapi.json"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi.document(server="https://shop.example/api/v1")


def _operation(document: dict[str, Any], call: Call) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][call.path][call.method.lower()]
    return found


def _validator(document: dict[str, Any], schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema | {"components": document["components"]}, validate_formats=True)


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()
    for name, schema in document["components"]["schemas"].items():
        jsonschema_rs.meta.validate(schema)
        assert "title" not in schema, name


def test_the_same_calls_give_the_same_document(document: dict[str, Any]) -> None:
    assert json.dumps(document) == json.dumps(openapi.document(server="https://shop.example/api/v1"))


def test_every_call_is_in_it_and_nothing_else(document: dict[str, Any]) -> None:
    said = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert said == {(call.method.lower(), call.path) for call in CALLS}
    for call in CALLS:
        operation = _operation(document, call)
        assert operation["operationId"] == call.name
        assert operation["summary"] and operation["description"], call.name
        assert operation["security"] == [{"api_key": [str(scope)]} for scope in call.scopes]
        assert operation["tags"][0] in {tag["name"] for tag in document["tags"]}
        keys = [each for each in operation.get("parameters", ()) if each["name"] == "Idempotency-Key"]
        assert [key["required"] for key in keys] == [True] * call.needs_idempotency_key


def test_the_routes_of_the_app_are_the_calls_of_the_document(app: flask.Flask, document: dict[str, Any]) -> None:
    routed = {
        (method.lower(), re.sub(r"<[^>]*:(\w+)>", r"{\1}", rule.rule.removeprefix("/api/v1")))
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("api.")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert routed == {(method, path) for path, methods in document["paths"].items() for method in methods}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_every_example_fits_its_schema(document: dict[str, Any], call: Call) -> None:
    operation = _operation(document, call)
    answer = operation["responses"][str(call.status)]["content"]["application/json"]["schema"]
    _validator(document, answer).validate(examples.ANSWERS[call.name])
    call.gives.model_validate(examples.ANSWERS[call.name])
    if call.takes is not None:
        call.takes.model_validate(examples.REQUESTS[call.name])
    if "requestBody" in operation:
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        _validator(document, body).validate(examples.REQUESTS[call.name])


def test_every_problem_fits_the_answers_that_name_it(document: dict[str, Any]) -> None:
    for call in CALLS:
        responses = _operation(document, call)["responses"]
        for code in call.codes:
            content = responses[str(problems.KINDS[code].status)]["content"]["application/problem+json"]
            _validator(document, content["schema"]).validate(examples.problem(code))
            assert code in content["examples"]


def test_the_codes_of_the_source_the_table_the_contract_and_the_guide_are_one_set(
    document: dict[str, Any], client: Browser
) -> None:
    said = set(document["components"]["schemas"]["ProblemCode"]["enum"])
    answered = {code for call in CALLS for code in call.codes}
    guide = set(re.findall(r'<tr role="row" id="(\w+)">', client.get("/docs/api/errors").text))
    assert said == set(problems.KINDS) == set(document["components"]["examples"]) == guide
    # No call takes another method than its own, so no call answers that it does not.
    assert answered == said - {"method_not_allowed"}
    assert _codes_in_source() <= said


def test_whatever_leads_from_a_problem_leads_to_its_row(client: Browser) -> None:
    page = client.get(problems.TYPE_BASE.partition("#")[0]).text
    for code in problems.KINDS:
        assert f'id="{code}"' in page


# No call of the API can meet these.
OF_THE_DASHBOARD = {
    "step_not_retryable",
    "order_closed",
    "refund_too_large",
    "payment_contested",
    "nothing_to_decide",
}


def _codes_in_source() -> set[str]:
    """Every code that a file of the API raises a Problem with, and every refusal that a call can meet."""
    raised = set()
    for path in (ROOT / "blueprints/api").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(getattr(node, "func", None), "attr", getattr(getattr(node, "func", None), "id", ""))
            if name == "Problem" and node.args and isinstance(node.args[0], ast.Constant):  # type: ignore[attr-defined]
                raised.add(str(node.args[0].value))  # type: ignore[attr-defined]
    known = [each for each in refusals.Refusal.__subclasses__() if each.__module__ == refusals.__name__]
    return raised | {each.code for each in known} - OF_THE_DASHBOARD


def test_anybody_may_read_the_contract_and_keep_it(client: Browser) -> None:
    answer = client.get(ADDRESS)
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert answer.json["servers"] == [{"url": "http://localhost/api/v1"}]
    assert "public" in answer.headers["Cache-Control"]
    assert "Set-Cookie" not in answer.headers
    again = client.get(ADDRESS, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
