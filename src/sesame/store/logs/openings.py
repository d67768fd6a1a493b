"""First lines of calls that have written nothing else yet: most calls write only a first and a last line.

Used by `store.logs.intake`, which takes both in at once.
"""

from collections.abc import Iterable
from typing import Protocol


class Source(Protocol):
    """The function instance that wrote a line."""

    @property
    def service(self) -> str: ...
    @property
    def function(self) -> str: ...
    @property
    def version_id(self) -> str: ...
    @property
    def instance_id(self) -> str: ...
    @property
    def log_project(self) -> str: ...
    @property
    def logstore(self) -> str: ...
    @property
    def qualifier(self) -> str: ...


# The first line of a call: source, request id, line, time received (Unix seconds).
Opening = tuple[Source, str, bytes, float]


class Openings:
    """At most one for each call; a call is identified by its instance and its request id."""

    def __init__(self) -> None:
        self._held: dict[str, dict[str, Opening]] = {}

    def put(self, opening: Opening) -> Opening | None:
        """Returns the opening that it replaces."""
        instance_id, request_id = opening[0].instance_id, opening[1]
        held = self._held.get(instance_id)
        if held is None:
            self._held[instance_id] = {request_id: opening}
            return None
        before = held.get(request_id)
        held[request_id] = opening
        return before

    def pop(self, instance_id: str, request_id: str) -> Opening | None:
        held = self._held.get(instance_id)
        return held.pop(request_id, None) if held else None

    def pop_of(self, instance_id: str) -> Iterable[Opening]:
        """The openings of an instance, in the order in which they came."""
        return self._held.pop(instance_id, {}).values()

    def pop_all(self) -> list[Opening]:
        held, self._held = self._held, {}
        return [opening for each in held.values() for opening in each.values()]
