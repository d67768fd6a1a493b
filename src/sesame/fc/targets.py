"""Reads which function a path names: service, qualifier, function.

Called by `fc.invoke` for every call and by the routes for paths with a qualifier. Does not ask whether it exists.
"""

from functools import lru_cache
from urllib.parse import unquote

from sesame.fc.refusals import InvalidArgument
from sesame.model import limits
from sesame.model.invocation import Target

VERSION_PREFIX = b"/2016-08-15/"
INVOCATIONS_SUFFIX = b"/invocations"


# What is remembered of paths has at most some 2 MiB: longer paths than functions can have are read each time.
REMEMBERED_PATHS, REMEMBERED_PATH_BYTES = 4096, 512


def invoked(raw_path: bytes) -> Target | None:
    """The target of `/2016-08-15/services/{s}/functions/{f}/invocations`, or None for any other path.

    Raises `InvalidArgument` for a qualifier that is written but empty.
    """
    return _remembered(raw_path) if len(raw_path) <= REMEMBERED_PATH_BYTES else _read(raw_path)


def _read(raw_path: bytes) -> Target | None:
    parts = raw_path.split(b"/")
    if len(parts) != 7 or parts[0] or parts[1] != b"2016-08-15":
        return None
    if parts[2] != b"services" or parts[4] != b"functions" or parts[6] != b"invocations":
        return None
    service, qualifier = qualified(segment(parts[3]))
    return Target(service, qualifier, segment(parts[5]))


_remembered = lru_cache(REMEMBERED_PATHS)(_read)


def segment(raw: bytes) -> str:
    """One segment of a path, decoded; an escaped slash stays inside it. Raises `InvalidArgument` for a NUL."""
    if b"%" not in raw:
        return raw.decode("latin-1")
    text = unquote(raw.decode("latin-1"))
    if "\0" in text:
        raise InvalidArgument.of("the path", "text without NUL characters", raw[:64].decode("latin-1"))
    return text


def qualified(name: str) -> tuple[str, str]:
    """`service.qualifier` → both; LATEST where none is written. Names of services have no dot."""
    service, dot, qualifier = name.partition(".")
    if dot and not qualifier:
        raise InvalidArgument.of("Qualifier", "LATEST, a version or an alias", "")
    return service, qualifier or limits.LATEST
