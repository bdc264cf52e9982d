"""The OpenAPI document of the admin API, made from the table of its routes. Pure.

Spec: OpenAPI 3.1.0; schemas are JSON Schema 2020-12, as msgspec makes them of the shapes in `schema`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from typing import Any

import msgspec

from resolver.daemon.api_route import JSON, ApiRoute, QueryParameter
from resolver.daemon.schema import ErrorView


def document(routes: Sequence[ApiRoute], version: str) -> dict[str, Any]:
    """Return the OpenAPI document of *routes*."""
    shapes = _shapes(routes)
    schemas, components = msgspec.json.schema_components(shapes, ref_template="#/components/schemas/{name}")

    def schema_of(shape: Any) -> dict[str, Any]:
        alternatives = [schemas[shapes.index(alternative)] for alternative in _alternatives(shape)]
        return alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}

    def content(shape: Any, media_type: str = JSON) -> dict[str, Any]:
        return {media_type: {"schema": schema_of(shape)}}

    paths: dict[str, Any] = {}
    for route in routes:
        responses = {str(route.status): {"description": "done", "content": content(route.response, route.media_type)}}
        for other in route.other_responses:
            responses[str(other.status)] = {"description": other.description, "content": content(other.shape)}
        responses["default"] = {"description": "refused or failed", "content": content(ErrorView)}
        operation: dict[str, Any] = {
            "operationId": route.operation_id,
            "summary": route.summary,
            "responses": responses,
            "parameters": [*_path_parameters(route.path), *map(_query_parameter, route.query)],
        }
        if route.body is not None:
            operation["requestBody"] = {"required": route.body_required, "content": content(route.body)}
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "berth admin API", "version": version},
        "paths": paths,
        "components": {"schemas": components},
    }


def _shapes(routes: Sequence[ApiRoute]) -> list[Any]:
    """Return every shape that *routes* take or give, once."""
    shapes: list[Any] = [ErrorView]
    for route in routes:
        used = [route.body, route.response, *(other.shape for other in route.other_responses)]
        for shape in (alternative for each in used if each is not None for alternative in _alternatives(each)):
            if shape not in shapes:
                shapes.append(shape)
    return shapes


def _alternatives(shape: Any) -> tuple[Any, ...]:
    """Return the members of a union of response types; a dry run answers with another shape."""
    return typing.get_args(shape) if isinstance(shape, types.UnionType) else (shape,)


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameter(parameter: QueryParameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": parameter.type}
    if parameter.most is not None:
        schema |= {"minimum": 1, "maximum": parameter.most}
    return {"name": parameter.name, "in": "query", "description": parameter.description, "schema": schema}
