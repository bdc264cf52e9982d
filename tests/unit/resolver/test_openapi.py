"""One table of routes: its handlers take and give what it says, the router serves it, the document describes it."""

import re
import types
import typing

import jsonschema
import msgspec
import pytest

from resolver.daemon import openapi, schema
from resolver.daemon.admin import ROUTES
from resolver.daemon.admission import Admission, Scope
from resolver.daemon.api_route import DRY_RUN, ApiReply, ApiRequest
from resolver.daemon.http_api import HttpApi

DOCUMENT = openapi.document(ROUTES, "1.2.3")
OPERATIONS = {(method, path): operation for path, item in DOCUMENT["paths"].items() for method, operation in item.items()}
BY_ID = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation_id)


def alternatives(shape):
    return set(typing.get_args(shape)) if isinstance(shape, types.UnionType) else {shape}


def test_table_router_and_document_agree():
    table = {(route.method.lower(), route.path) for route in ROUTES}
    served = HttpApi(ROUTES, None).application(Admission(lambda: 0.0), Scope.CHANGE).router.routes()
    # aiohttp answers HEAD wherever it answers GET only if it is asked to.
    assert {(route.method.lower(), route.resource.canonical) for route in served} == table == set(OPERATIONS)
    assert len(table) == len(ROUTES)


def test_every_operation_has_an_id_of_its_own():
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(ids)) == len(ids) == len(ROUTES)
    assert all(re.fullmatch("[a-z]+([A-Z][a-z]+)+", identity) for identity in ids)


@BY_ID
def test_handler_takes_and_gives_what_the_table_says(route):
    hints = typing.get_type_hints(route.handler)
    assert hints["request"] == ApiRequest[route.body or type(None)]
    given = alternatives(hints["return"])
    if route.stream:
        assert [typing.get_args(shape)[0] for shape in given] == [route.response]
        return
    if route.response is str:
        assert given == {bytes}
        return
    assert (ApiReply in given) == bool(route.other_responses)
    assert given - {ApiReply} == alternatives(route.response)


@BY_ID
def test_dry_run_is_offered_with_its_answer(route):
    shapes = alternatives(route.response) | {other.shape for other in route.other_responses}
    assert (DRY_RUN in route.query) == (schema.PlanView in shapes)


@BY_ID
def test_operation_says_what_it_takes(route):
    operation = OPERATIONS[route.method.lower(), route.path]
    parameters = {(parameter["in"], parameter["name"]) for parameter in operation["parameters"]}
    assert parameters == {*(("path", name) for name in re.findall(r"\{(\w+)\}", route.path)), *(("query", q.name) for q in route.query)}
    assert ("requestBody" in operation) == (route.body is not None)
    if route.body is not None:
        assert operation["requestBody"]["required"] == route.body_required
        # A body that may be left out has a default for every field.
        assert route.body_required or route.body() is not None
    assert set(operation["responses"]) == {str(route.status), "default", *(str(other.status) for other in route.other_responses)}
    assert list(operation["responses"][str(route.status)]["content"]) == [route.media_type]


def test_integer_parameters_have_their_bounds():
    (limit,) = (item for item in OPERATIONS["get", "/v1/cache"]["parameters"] if item["name"] == "limit")
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 10_000}


def test_document_is_valid_openapi():
    # Of the official schema of 3.1 what a mistake of ours could break.
    reference = {"type": "object", "required": ["schema"], "properties": {"schema": {"type": "object"}}}
    content = {"type": "object", "minProperties": 1, "additionalProperties": reference}
    response = {"type": "object", "required": ["description"], "properties": {"description": {"type": "string"}, "content": content}}
    parameter = {
        "type": "object", "required": ["name", "in", "schema"],
        "properties": {"in": {"enum": ["path", "query"]}, "required": {"type": "boolean"}},
        "if": {"properties": {"in": {"const": "path"}}}, "then": {"required": ["required"]},
    }  # fmt: skip
    operation = {
        "type": "object", "required": ["operationId", "summary", "parameters", "responses"], "additionalProperties": False,
        "properties": {
            "operationId": {"type": "string"}, "summary": {"type": "string", "minLength": 1},
            "parameters": {"type": "array", "items": parameter},
            "requestBody": {"type": "object", "required": ["content"], "properties": {"content": content}},
            "responses": {"type": "object", "patternProperties": {"^([1-5][0-9]{2}|default)$": response}, "additionalProperties": False},
        },
    }  # fmt: skip
    jsonschema.Draft202012Validator(
        {
            "type": "object", "required": ["openapi", "info", "paths", "components"], "additionalProperties": False,
            "properties": {
                "openapi": {"const": "3.1.0"},
                "components": {"type": "object", "required": ["schemas"]},
                "info": {"type": "object", "required": ["title", "version"]},
                "paths": {
                    "type": "object",
                    "patternProperties": {"^/": {"type": "object", "patternProperties": {"^(get|post|patch|delete)$": operation}}},
                    "additionalProperties": False,
                },
            },
        }
    ).validate(DOCUMENT)  # fmt: skip
    for shape in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(shape)
    assert msgspec.json.decode(msgspec.json.encode(DOCUMENT)) == DOCUMENT


def test_every_reference_leads_somewhere():
    named = set(re.findall(r'"#/components/schemas/(\w+)"', msgspec.json.encode(DOCUMENT).decode()))
    assert named == set(DOCUMENT["components"]["schemas"])


def test_only_a_prune_and_a_stop_need_no_body():
    assert [route.operation_id for route in ROUTES if not route.body_required] == ["pruneNetworks", "stopSandbox", "pruneSandboxes"]
