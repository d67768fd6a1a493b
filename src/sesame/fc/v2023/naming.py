"""How URLs of 2023-03-30 name functions: `functions/{function}?qualifier=…`, or `service$function` within a service.

Used by `fc.app` through `fc.v2023.version`, and by `fc.v2023.paths` for the routes.
"""

from functools import lru_cache

from sesame.fc.targets import (
    REMEMBERED_PATH_BYTES,
    REMEMBERED_PATHS,
    Place,
    qualifier_of,
    segment,
)
from sesame.model import records
from sesame.model.arn import target_resource
from sesame.model.errors import NotFound
from sesame.model.invocation import Target
from sesame.model.owner import MARK, named_function, owner_of, stands_alone

# Resources that a service's functions share, with their names in older versions: a permission for one function must not
# extend to them.
_OF_SERVICES = {"versions": "versions", "aliases": "aliases", "vpc-bindings": "bindings"}


def function_named(name: str) -> tuple[str, str]:
    """Owner and function for a decoded name. Raises `NotFound` if the name is that of an owner."""
    if name.startswith(MARK):
        raise NotFound(records.FUNCTION, name, (owner_of(name),))
    return named_function(name)


class FunctionInPath:
    def invoked(self, raw_path: bytes, query: bytes) -> Target | None:
        names = _names(raw_path) if len(raw_path) <= REMEMBERED_PATH_BYTES else _read_names(raw_path)
        return None if names is None else Target(names[0], qualifier_of(query), names[1])

    def instance(self, raw_path: bytes, query: bytes) -> Place | None:
        parts = raw_path.split(b"/")
        if (parts[2:3], parts[4:5], parts[6:]) != ([b"functions"], [b"instances"], [b"exec"]):
            return None
        owner, function = function_named(segment(parts[3]))
        return Place(Target(owner, qualifier_of(query), function), segment(parts[5]))

    def qualified(self, name: str, query: bytes) -> tuple[str, str]:
        return name, qualifier_of(query)

    def resource(self, parts: list[str], query: bytes) -> list[str]:
        """Names a function as policies do, whichever API is used (`model.arn.target_resource`)."""
        if len(parts) < 2 or parts[0] != "functions":
            return parts
        owner, function = function_named(parts[1])
        if not stands_alone(owner) and parts[2:3] and parts[2] in _OF_SERVICES:
            return ["services", owner, _OF_SERVICES[parts[2]], *parts[3:]]
        return [*target_resource(Target(owner, qualifier_of(query), function)).split("/", 1), *parts[2:]]


def _read_names(raw_path: bytes) -> tuple[str, str] | None:
    parts = raw_path.split(b"/")
    if len(parts) != 5 or parts[0] or parts[2] != b"functions" or parts[4] != b"invocations":
        return None
    return function_named(segment(parts[3]))


_names = lru_cache(REMEMBERED_PATHS)(_read_names)
