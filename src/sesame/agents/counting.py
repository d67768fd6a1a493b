"""Computes what a follower's pool has counted since its last report to the writer.

Used by `agents.follower`; `agents.followed` adds the reports to the writer's own counts.
"""

import msgspec

from sesame.agents.link import Link
from sesame.agents.messages import Counted, Ended
from sesame.engine.pool_parts import Counts


class Untold:
    def __init__(self) -> None:
        self._told = Counts()
        self._calls = 0

    def another_writer(self) -> None:
        """A new writer does not know of any calls in flight yet."""
        self._calls = 0

    def take(self, now: Counts, calls: int | None = None) -> Counted | None:
        """Returns the report that is due, None if nothing changed. Each difference is returned once.

        `now` are the pool's counts, `calls` the calls in flight; None leaves that number as last reported.
        """
        grown = {
            name: more for name in now.__struct_fields__ if (more := getattr(now, name) - getattr(self._told, name))
        }
        calls = self._calls if calls is None else calls
        if not grown and calls == self._calls:
            return None
        self._told, self._calls = msgspec.structs.replace(now), calls
        return Counted(grown, calls)

    def tell_end(self, link: Link, now: Counts, ended: Ended) -> None:
        """Reports the end of a call together with the counts, so that the writer sees both at the same time."""
        if (counted := self.take(now)) is not None:
            link.send(counted, soon=False)
        link.send(ended, soon=False)
