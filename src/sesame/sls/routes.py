"""Finds the operation of a request in the table, and refuses parameters that it does not accept.

Called by `sls.app` before the request changes anything.
"""

import msgspec

from sesame.sls.errors import SlsError
from sesame.sls.operations import SERVICE, TABLE, Operation
from sesame.sls.request import Request

KINDS = ("type", "action")
_PATTERNS = {tuple(path.strip("/").split("/")): operations for path, operations in TABLE.items()}


class Route(msgspec.Struct, frozen=True):
    """`names` are the parameters in the path: `logstore`, `shard`, `group`."""

    operation: Operation
    names: dict[str, str]

    def resource(self, project: str) -> str:
        return self.operation.resource.format(project=project, **self.names)


def route(request: Request) -> Route:
    """Raises SlsError."""
    segments = tuple(request.path.strip("/").split("/"))
    if not request.project and segments != ("",):
        raise SlsError(
            "ProjectNotExist", f"The Host header '{request.host[:128]}' names no project: expected <project>.<host>"
        )
    found = _named(segments)
    if found is None:
        raise SlsError("NotSupported", f"The operation {request.method} {request.path[:256]} is not supported")
    operations, names = found
    if not request.project:
        operations = SERVICE
    of_method = {kind: operation for (method, kind), operation in operations.items() if method == request.method}
    takes_any = of_method.get("")
    if takes_any is not None and takes_any.query is None:
        return Route(takes_any, names)
    kind_item = next((item for item in KINDS if item in request.query), "")
    kind = request.query.get(kind_item, "")
    if not of_method and not kind:
        raise SlsError("InvalidMethod", f"invalid request method {request.method}: {request.path[:256]}")
    operation = of_method.get(kind)
    if operation is None:
        raise SlsError(
            "NotSupported",
            f"The operation {request.method} {request.path[:256]} of {kind_item or 'no type'} '{kind[:64]}' is not "
            f"supported: expected {' or '.join(sorted(of_method)) or 'none'}",
        )
    known = operation.query or frozenset()
    if unknown := request.query.keys() - known - {kind_item}:
        expected = ", ".join(sorted(known)) or "none"
        raise SlsError("ParameterInvalid", f"parameter {min(unknown)[:64]} is not supported: expected {expected}")
    return Route(operation, names)


def _named(segments: tuple[str, ...]) -> tuple[dict[tuple[str, str], Operation], dict[str, str]] | None:
    """The operations at a path, and its parameters. Literal segments take precedence: `lb` is not a shard."""
    matches = ((operations, _match(pattern, segments)) for pattern, operations in _PATTERNS.items())
    found = [(operations, names) for operations, names in matches if names is not None]
    return min(found, key=lambda match: len(match[1]), default=None)


def _match(pattern: tuple[str, ...], segments: tuple[str, ...]) -> dict[str, str] | None:
    if len(pattern) != len(segments):
        return None
    names = {}
    for wanted, found in zip(pattern, segments, strict=True):
        if wanted.startswith("{"):
            if not found:
                return None
            names[wanted.strip("{}")] = found
        elif wanted != found:
            return None
    return names
