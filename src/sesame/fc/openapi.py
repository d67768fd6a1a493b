"""Describes an API version as an OpenAPI document, derived from its operations and their structs.

Called by `fc.app`, which serves it at `/openapi.json?version=…`, and by scripts.
"""

import re
from importlib import metadata
from typing import Any

import msgspec
from msgspec.json import schema_components

from sesame.fc.api_version import ApiVersion
from sesame.fc.operations import ListOf, Operation
from sesame.model import limits
from sesame.model.async_invocation import State

PATH = "/openapi.json"
DISTRIBUTION = "sesame-fc"
_REF = "#/components/schemas/{name}"
_FLAGS = frozenset(
    {
        "includePayload",
        "public",
        "official",
        "stdin",
        "stdout",
        "stderr",
        "tty",
        "withAllActive",
        "fileSystemOnly",
        "All",
    }
)
_REPEATED = frozenset({"config", "instanceIds", "command"})
_PART = re.compile(r"{([^}]*)}")


def document(version: ApiVersion) -> dict[str, Any]:
    """The OpenAPI document; `info.version` is the version of Sesame."""
    shapes = _shapes(version)
    schemas, components = schema_components(shapes, ref_template=_REF)
    by_shape = {id(shape): schema for shape, schema in zip(shapes, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    error = by_shape[id(version.errors.shape)]
    for operation in version.operations:
        paths.setdefault(operation.route, {})[operation.method.lower()] = _operation(operation, by_shape, error)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Function Compute",
            "version": metadata.version(DISTRIBUTION),
            "description": f"API {version.name}, as served here.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "fc": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`FC {accessKeyId}:{signature}`, beside a Date header.",
                }
            },
        },
        "security": [{"fc": []}],
    }


def _shapes(version: ApiVersion) -> list[Any]:
    """The distinct structs of all request and answer bodies."""
    found: list[Any] = [version.errors.shape]
    for operation in version.operations:
        answer = operation.answers.item if isinstance(operation.answers, ListOf) else operation.answers
        found += [shape for shape in (operation.takes, answer) if _is_struct(shape) and shape not in found]
    return found


def _is_struct(shape: Any) -> bool:
    return isinstance(shape, type) and issubclass(shape, msgspec.Struct)


def _operation(operation: Operation, schemas: dict[int, Any], error: Any) -> dict[str, Any]:
    names = _PART.findall(operation.path)
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names),
            *(
                {"name": name, "in": "query", "required": name in operation.needs, "schema": _query_schema(name)}
                for name in operation.query
            ),
            *({"name": name, "in": "header", "schema": _HEADERS.get(name, _TEXT)} for name in operation.headers),
        ],
        "responses": {
            **_answer(operation, schemas),
            "default": {"description": "An error.", "content": _json(error)},
        },
    }
    if operation.takes is not None:
        body = schemas[id(operation.takes)]
        if operation.needs:
            body = {"allOf": [body, {"required": list(operation.needs)}]}
        described["requestBody"] = {"required": bool(operation.needs), "content": _json(body)}
    elif operation.answers is bytes:
        described["requestBody"] = {"content": {"application/octet-stream": {}}}
    return described


_TEXT: dict[str, Any] = {"type": "string"}
_HEADERS: dict[str, dict[str, Any]] = {
    "X-Fc-Invocation-Type": {"type": "string", "enum": ["Sync", "Async"]},
    "X-Fc-Async-Delay": {
        "type": "string",
        "pattern": r"^[0-9]{1,4}(\.[0-9]{1,9})?$",
        "description": f"Seconds, more than 0 and at most {limits.ASYNC_DELAY_S_MAX}.",
    },
    "X-Fc-Stateful-Async-Invocation-Id": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_-]{0,127}$"},
    "X-Fc-Stateful-Async-Invocation-Enable": {"type": "string", "enum": ["true", "false"]},
    "X-Fc-Log-Type": {"type": "string", "enum": ["None", "Tail"]},
}
_QUERY: dict[str, dict[str, Any]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": limits.LIST_LIMIT_MAX},
    "Limit": {"type": "integer", "minimum": 1, "maximum": limits.LIST_LIMIT_MAX},
    "startVersion": {"type": "integer", "minimum": 1},
    "idleTimeout": {"type": "integer"},
    "direction": {"type": "string", "enum": ["FORWARD", "BACKWARD"]},
    "status": {"type": "string", "enum": [state.value for state in State]},
    "startedTimeBegin": {"type": "integer", "description": "Milliseconds since 1970."},
    "startedTimeEnd": {"type": "integer", "description": "Milliseconds since 1970."},
    "startTimeMs": {"type": "integer", "description": "Milliseconds since 1970."},
    "endTimeMs": {"type": "integer", "description": "Milliseconds since 1970."},
    "sortOrderByTime": {"type": "string", "enum": ["asc", "desc"]},
}


def _query_schema(name: str) -> dict[str, Any]:
    if name in _REPEATED:
        return {"type": "array", "items": _TEXT}
    return {"type": "boolean"} if name in _FLAGS else _QUERY.get(name, _TEXT)


def _answer(operation: Operation, schemas: dict[int, Any]) -> dict[str, Any]:
    answers = operation.answers
    if operation.upgrades:
        return {"101": {"description": "Switches to a websocket; docs/compatibility.md describes its messages."}}
    if answers is None:
        return {"204": {"description": "Done."}}
    if answers is bytes:
        content: dict[str, Any] = {"application/octet-stream": {}, "application/json": {}}
    elif isinstance(answers, ListOf):
        content = _json(_list(answers, schemas[id(answers.item)]))
    elif _is_struct(answers):
        content = _json(schemas[id(answers)])
    else:
        content = _json(msgspec.json.schema(answers))
    answer = {"200": {"description": "Done.", "content": content}}
    if answers is bytes:
        answer["202"] = {"description": "Accepted: the function is invoked asynchronously."}
    return answer


def _list(listed: ListOf, item: Any) -> dict[str, Any]:
    token = {"type": "integer"} if listed.next_token == "nextVersion" else _TEXT
    items: dict[str, Any] = {"type": ["array", "null"] if listed.or_null else "array", "items": item}
    return {"type": "object", "properties": {listed.key: items, listed.next_token: token}, "required": [listed.key]}


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
