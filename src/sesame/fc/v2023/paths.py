"""Parsing of paths and queries specific to 2023-03-30, in addition to `fc.requests`.

Called by the files in `fc/v2023/routes/`.
"""

from typing import TypeVar

import msgspec
from starlette.requests import Request

from sesame.fc import requests
from sesame.fc.refusals import InvalidArgument
from sesame.fc.targets import qualifier_of
from sesame.fc.v2023.naming import function_named
from sesame.model import limits
from sesame.model.invocation import Target

T = TypeVar("T")


def function(request: Request) -> tuple[str, str]:
    """Owner and function, for an operation on the whole function. Raises `InvalidArgument` for a qualifier.

    The permission was checked for what the qualifier names, so the operation must not ignore it.
    """
    owner, found, qualifier = qualified_function(request)
    if qualifier:
        raise InvalidArgument.of("Qualifier", "LATEST: this is not of a version or an alias", qualifier[:64])
    return owner, found


def qualified_function(request: Request) -> tuple[str, str, str]:
    """Owner, function and qualifier; "" means LATEST."""
    return *function_named(requests.name(request, "function")), qualifier(request)


def qualifier(request: Request) -> str:
    """The qualifier in the query; "" means LATEST."""
    found = qualifier_of(request.scope["query_string"])
    return "" if found == limits.LATEST else found


def target(request: Request) -> Target:
    owner, function_name, qualifier = qualified_function(request)
    return Target(owner, qualifier or limits.LATEST, function_name)


def document(request: Request, item: str, shape: type[T], expected: str) -> T | None:
    """A query parameter that is JSON text (reference/api.md §5); None if it is absent."""
    text = request.query_params.get(item, "")
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=shape)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument.of(item[0].upper() + item[1:], expected, text[:64]) from error
