"""The result of a function call.

Created by `testing.api`, returned by `testing.function`.
"""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """A call's result. `error` is "" unless the function failed; `log` is the tail of its log (4 KiB)."""

    payload: bytes
    request_id: str
    error: str
    log: str

    @property
    def text(self) -> str:
        return self.payload.decode()

    def json(self) -> Any:
        return json.loads(self.payload)
