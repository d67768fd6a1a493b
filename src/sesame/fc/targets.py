"""Parses the function that a URL names: service, qualifier, function.

API versions put the qualifier in different places.

Called by `fc.app` for every call, by `fc.auth.actions`, by the routes and by `fc.exec`. Does not check that the target
exists.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol
from urllib.parse import parse_qsl, unquote

import msgspec

from sesame.fc.refusals import ApiError, InvalidArgument
from sesame.model import limits
from sesame.model.arn import target_resource
from sesame.model.invocation import Target
from sesame.model.owner import stands_alone

INVOCATIONS_SUFFIX = b"/invocations"
# Followed by `{service[.qualifier]}/{function}/{path…}` of an HTTP function.
PROXY_PREFIX = b"/2016-08-15/proxy/"
QUALIFIER_ITEM = "qualifier"

# Bounds the cache of paths to about 2 MiB. Paths longer than any valid one are parsed each time.
REMEMBERED_PATHS, REMEMBERED_PATH_BYTES = 4096, 512


class Place(msgspec.Struct, frozen=True):
    """A running instance and the function it belongs to."""

    target: Target
    instance_id: str


class Naming(Protocol):
    """How one API version names functions in its URLs. Paths and queries are raw, not decoded.

    All methods raise `InvalidArgument` for text with a NUL, and for a qualifier where none is allowed.
    """

    def invoked(self, raw_path: bytes, query: bytes) -> Target | None:
        """The target of an invocation; None for any other path."""

    def instance(self, raw_path: bytes, query: bytes) -> Place | None:
        """The instance of `…/instances/{id}/exec`; None for any other path."""

    def qualified(self, name: str, query: bytes) -> tuple[str, str]:
        """The decoded name in a path segment, and its qualifier: LATEST if there is none."""

    def resource(self, parts: list[str], query: bytes) -> list[str]:
        """Maps the decoded parts of a path to the parts of a resource for permissions.

        LATEST is omitted, because it means the same as no qualifier: writing it must not evade a policy.
        """


class QualifierInPath:
    """`services/{service}.{qualifier}/functions/{function}`, as in 2016-08-15."""

    def invoked(self, raw_path: bytes, query: bytes) -> Target | None:
        return _in_path(raw_path) if len(raw_path) <= REMEMBERED_PATH_BYTES else _read_in_path(raw_path)

    def instance(self, raw_path: bytes, query: bytes) -> Place | None:
        return _instance(raw_path, query, self.qualified)

    def qualified(self, name: str, query: bytes) -> tuple[str, str]:
        return qualified(name)

    def resource(self, parts: list[str], query: bytes) -> list[str]:
        return [part.removesuffix(_LATEST) if index == 1 else part for index, part in enumerate(parts)]


class OwnNaming:
    """For Sesame's own operations, which never invoke.

    Like `QualifierInPath`, but supports functions without a service.

    Such a function is addressed below its owner, `services/$function/functions/function`.
    """

    def invoked(self, raw_path: bytes, query: bytes) -> Target | None:
        return None

    def instance(self, raw_path: bytes, query: bytes) -> Place | None:
        return None

    def qualified(self, name: str, query: bytes) -> tuple[str, str]:
        return qualified_owner(name)

    def resource(self, parts: list[str], query: bytes) -> list[str]:
        """Names functions without a service as policies do (`model.arn.target_resource`)."""
        if len(parts) < 4 or parts[::2][:2] != ["services", "functions"] or not stands_alone(parts[1]):
            return QualifierInPath().resource(parts, query)
        owner, qualifier = qualified_owner(parts[1])
        return [*target_resource(Target(owner, qualifier, parts[3])).split("/", 1), *parts[4:]]


class QualifierInQuery:
    """`services/{service}/functions/{function}?qualifier={qualifier}`, as in 2021-04-06."""

    def invoked(self, raw_path: bytes, query: bytes) -> Target | None:
        names = _names(raw_path) if len(raw_path) <= REMEMBERED_PATH_BYTES else _read_names(raw_path)
        return None if names is None else Target(names[0], qualifier_of(query), names[1])

    def instance(self, raw_path: bytes, query: bytes) -> Place | None:
        return _instance(raw_path, query, self.qualified)

    def qualified(self, name: str, query: bytes) -> tuple[str, str]:
        return service_named(name), qualifier_of(query)

    def resource(self, parts: list[str], query: bytes) -> list[str]:
        qualifier = qualifier_of(query)
        if len(parts) < 2 or parts[0] != "services" or qualifier == limits.LATEST:
            return parts
        return [parts[0], f"{parts[1]}.{qualifier}", *parts[2:]]


_LATEST = f".{limits.LATEST}"


def _read_names(raw_path: bytes) -> tuple[str, str] | None:
    """Service and function of `/{version}/services/{s}/functions/{f}/invocations`; None for any other path."""
    parts = raw_path.split(b"/")
    if len(parts) != 7 or parts[0] or parts[2] != b"services" or parts[4] != b"functions" or parts[6] != b"invocations":
        return None
    return service_named(segment(parts[3])), segment(parts[5])


def _read_in_path(raw_path: bytes) -> Target | None:
    names = _read_names(raw_path)
    if names is None:
        return None
    service, qualifier = qualified(names[0])
    return Target(service, qualifier, names[1])


_names = lru_cache(REMEMBERED_PATHS)(_read_names)
_in_path = lru_cache(REMEMBERED_PATHS)(_read_in_path)


def _instance(raw_path: bytes, query: bytes, read: Callable[[str, bytes], tuple[str, str]]) -> Place | None:
    """Parses `/{version}/services/…/functions/…/instances/…/exec`."""
    parts = raw_path.split(b"/")
    fixed = (parts[2:3], parts[4:5], parts[6:7], parts[8:])
    if fixed != ([b"services"], [b"functions"], [b"instances"], [b"exec"]):
        return None
    service, qualifier = read(segment(parts[3]), query)
    return Place(Target(service, qualifier, segment(parts[5])), segment(parts[7]))


def service_named(name: str) -> str:
    """Rejects the owner of a function without a service, which these API versions do not know as a service."""
    if stands_alone(name):
        raise ApiError(404, "ServiceNotFound", f"service '{name}' does not exist")
    return name


def segment(raw: bytes) -> str:
    """Decodes one path segment; an escaped slash stays part of it. Raises `InvalidArgument` for a NUL."""
    if b"%" not in raw:
        return raw.decode("latin-1")
    text = unquote(raw.decode("latin-1"))
    if "\0" in text:
        raise InvalidArgument.of("the path", "text without NUL characters", raw[:64].decode("latin-1"))
    return text


def qualified(name: str) -> tuple[str, str]:
    """`service.qualifier` → both; LATEST if there is none. Service names contain no dot."""
    return qualified_owner(service_named(name))


def qualified_owner(name: str) -> tuple[str, str]:
    """Like `qualified`, but accepts the owner of a function without a service."""
    service, dot, qualifier = name.partition(".")
    if dot and not qualifier:
        raise InvalidArgument.of("Qualifier", "LATEST, a version or an alias", "")
    return service, qualifier or limits.LATEST


def qualifier_of(query: bytes) -> str:
    """The qualifier in a query; LATEST if absent or empty. Raises for conflicting ones, and for a NUL."""
    if b"ualifier" not in query and b"%" not in query:
        return limits.LATEST
    found = {value for name, value in parse_qsl(query.decode("latin-1")) if name == QUALIFIER_ITEM and value}
    if len(found) > 1:
        raise InvalidArgument.of("Qualifier", "one value", ", ".join(sorted(found))[:64])
    qualifier = found.pop() if found else limits.LATEST
    if "\0" in qualifier:
        raise InvalidArgument.of("Qualifier", "text without NUL characters", qualifier[:64].replace("\0", "%00"))
    return qualifier
