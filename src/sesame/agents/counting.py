"""What has happened in a follower's pool since its writer was told last.

Used by `agents.follower`; `agents.followed` adds it to what the writer has counted itself.
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
        """It has heard of no calls in flight yet."""
        self._calls = 0

    def take(self, now: Counts, calls: int | None = None) -> Counted | None:
        """What is to be told, and is not given again; None for nothing. `calls` are those in flight, if looked at."""
        grown = {
            name: more for name in now.__struct_fields__ if (more := getattr(now, name) - getattr(self._told, name))
        }
        calls = self._calls if calls is None else calls
        if not grown and calls == self._calls:
            return None
        self._told, self._calls = msgspec.structs.replace(now), calls
        return Counted(grown, calls)

    def tell_end(self, link: Link, now: Counts, ended: Ended) -> None:
        """The call and its instance are counted at the same time."""
        if (counted := self.take(now)) is not None:
            link.send(counted, soon=False)
        link.send(ended, soon=False)
