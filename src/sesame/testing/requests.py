"""The JSON messages from the parent to a test's Sesame.

Read by `testing.server` and `testing.serving`, written by `testing.process`.
"""

from pathlib import Path

import msgspec

ACCOUNT_ID = "1234567890123456"


class Start(msgspec.Struct, frozen=True):
    """The parent's first message. `folder` belongs to this server, which removes it at its end.

    Of `ahead`, the first runtime with an interpreter is prepared before its first use.
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
