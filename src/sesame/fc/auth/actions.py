"""Determines the action and the resource for which a request needs a permission (reference/companions.md §3.4).

Built by `fc.app` from the operations of every served API version; used by `fc.auth.permissions` for every request.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from sesame.fc.operations import Operation
from sesame.fc.targets import INVOCATIONS_SUFFIX, Naming, OwnNaming, segment
from sesame.model import limits

_LATEST = f".{limits.LATEST}"
# For Sesame's own operations.
_OWN_NAMING = OwnNaming()
# Last path segments that are not collections: the permission concerns the resource before them.
_SIDES = frozenset(
    {
        "code", "invocations", "async-invoke-config", "provision-config", "on-demand-config", "binding", "bindings",
        "tempCodeBucketToken", "acl", "exec", "fire", "replay",
        "recording", "trial", "source-check",
        "concurrency", "scaling-config", "stop", "pause", "resume", "invoke",
    }
)  # fmt: skip


class NamedOperations(Protocol):
    """The part of an API version that is used here."""

    @property
    def name(self) -> str: ...
    @property
    def operations(self) -> Sequence[Operation]: ...
    @property
    def naming(self) -> Naming: ...


class Actions:
    """Maps a method and a path to an operation. After the prefix, paths alternate between collections and names."""

    def __init__(self, versions: Iterable[NamedOperations], region: str) -> None:
        self._region = region
        self._namings: dict[bytes, Naming] = {}
        self._names: dict[tuple[str, str], str] = {}
        for version in versions:
            self._namings[version.name.encode()] = version.naming
            for each in version.operations:
                self._names[each.method, re.sub(r"{[^}]*}", "*", each.route)] = each.name

    def find(self, method: str, raw_path: bytes, query: bytes = b"") -> tuple[str, str] | None:
        """For example `fc:InvokeFunction` and `services/s/functions/f`; None if the operation is unknown.

        A qualifier is part of the resource, wherever the version puts it: `services/s.q/functions/f`.
        """
        invokes = not query and method == "POST" and raw_path.endswith(INVOCATIONS_SUFFIX)
        if invokes and (target := _plain_target(raw_path)):
            return "fc:InvokeFunction", target
        _root, _slash, path = raw_path.partition(b"/")
        prefix, *rest = path.split(b"/")
        if not rest:
            return None
        parts = [segment(part) for part in rest]
        route = "GET" if method == "HEAD" else method, f"/{prefix.decode('latin-1')}/"
        shape = [part if index % 2 == 0 else "*" for index, part in enumerate(parts)]
        name = self._names.get((route[0], route[1] + "/".join(shape)))
        if name is None:
            # The last segment may be a verb, as in `functions/{f}/invoke/disable`.
            name = self._names.get((route[0], route[1] + "/".join([*shape[:-1], parts.pop()])))
        if name is None:
            return None
        parts = self._namings.get(prefix, _OWN_NAMING).resource(parts, query)
        if parts[-1] in _SIDES and len(parts) % 2:
            parts.pop()
        elif len(parts) % 2:
            parts.append("*")
        return "fc:" + name, "/".join(parts)

    def arn(self, account_id: str, resource: str) -> str:
        return f"acs:fc:{self._region}:{account_id}:{resource}"


def _plain_target(raw_path: bytes) -> str:
    """The resource of an invocation whose path needs no decoding; "" for any other path.

    Most requests are invocations, and this takes a fifth of the time of the table.
    """
    parts = raw_path.split(b"/")
    if len(parts) != 7 or b"%" in raw_path or parts[2] != b"services" or parts[4] != b"functions":
        return ""
    service = parts[3].decode("latin-1").removesuffix(_LATEST)
    return f"services/{service}/functions/{parts[5].decode('latin-1')}"
