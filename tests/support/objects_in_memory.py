"""A bucket in memory, for tests of what is in it of logs. Used by `tests/store`."""

from collections.abc import Collection

from sesame.model.errors import StoreUnavailable
from sesame.store.blobs.bucket import Piece


class Objects:
    """A bucket in memory; while `away` it does not answer."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.fetched = 0
        self.away = False

    async def put(self, path: str, data: bytes) -> None:
        self._require()
        self.held[path] = data

    async def get(self, path: str) -> Piece:
        self._require()
        self.fetched += 1
        if path not in self.held:
            raise FileNotFoundError(path)
        return Piece(self.held[path], "")

    async def delete(self, paths: Collection[str]) -> None:
        self._require()
        for path in paths:
            self.held.pop(path, None)

    def _require(self) -> None:
        if self.away:
            raise StoreUnavailable("the bucket is away")
