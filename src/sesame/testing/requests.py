"""What the parent of a test's Sesame says to it, in JSON.

Read by `testing.server` and `testing.serving`, written by `testing.process`.
"""

from pathlib import Path

import msgspec

ACCOUNT_ID = "1234567890123456"


class Start(msgspec.Struct, frozen=True):
    """What the parent says: `folder` is this server's own, and removed at its end.

    The first of `ahead` that has an interpreter is made ready before its first use.
    """

    folder: str
    sandbox: str
    region: str
    path: list[str] = []
    ahead: list[str] = []

    @property
    def data(self) -> Path:
        """The data directory."""
        return Path(self.folder) / "data"


class Request(msgspec.Struct, frozen=True):
    id: int
    do: str
    seconds: float = 0.0
