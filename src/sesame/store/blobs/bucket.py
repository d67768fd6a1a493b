"""A bucket of an S3-compatible store, below a prefix, with the few requests that Sesame makes, each limited in time.

Created by `_storage` and by the commands that read a store. Only this file uses the library.
"""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from sesame.model.errors import ConfigurationError, StoreUnavailable
from sesame.store.blobs.location import Location

if TYPE_CHECKING:
    from obstore import PutMode

CONNECT_TIMEOUT_S = 5
# Of one attempt: 8 MiB at 0.4 MB/s take 20 s.
TRY_TIMEOUT_S = 20
# No attempt starts later than this after the first: a store may be away for so long before a caller gets an error.
RETRY_FOR_S = 10
RETRIES_MAX = 10
# POLICY: clients of OSS wait 60 s for an answer.
REQUEST_TIMEOUT_S = 40.0
# POLICY: at most this many large transfers run at a time, so that a slow line completes each within one attempt.
LARGE_BYTES, LARGE_AT_ONCE = 1024 * 1024, 8
SHOWN_MAX = 300
_DEFAULT_REGION = "us-east-1"


class Listed(msgspec.Struct, frozen=True):
    """`path` below the prefix; `modified_at` in Unix seconds."""

    path: str
    size: int
    modified_at: float


class Piece(msgspec.Struct, frozen=True):
    """Bytes, and the entity tag of the object that they were read from."""

    data: bytes
    tag: str


class Conflict(Exception):
    """The object exists already, or has changed since its tag was read."""


class ConditionsUnknown(Exception):
    """The store does not support conditional writes."""


class Bucket:
    """Use on one event loop. Each request raises `StoreUnavailable` if the store fails or does not answer."""

    def __init__(self, location: Location) -> None:
        try:
            # Imported here because most installations never need it.
            import obstore
            from obstore import exceptions
            from obstore.store import S3Store
        except ImportError as error:
            raise ConfigurationError(
                "objects in a bucket need the extra s3, which is not installed: pip install 'sesame-fc[s3]'"
            ) from error
        self.shown = location.shown
        self._obstore: Any = obstore
        self._errors: Any = exceptions
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._large_done = self._large_failed = 0
        items = dict(location.items)
        plain = items.get("endpoint", "").startswith("http://")
        keys: Any = None
        if "access_key_id" in items:
            given = {
                "access_key_id": items.pop("access_key_id"),
                "secret_access_key": items.pop("secret_access_key"),
                "token": items.pop("session_token", None),
                "expires_at": None,
            }
            # Passed explicitly, so that the library adds nothing from the environment.
            keys = lambda: given  # noqa: E731
        config: Any = {"region": _DEFAULT_REGION, **items}
        try:
            self._store = S3Store(
                location.bucket,
                prefix=location.prefix or None,
                config=config,
                client_options={
                    "allow_http": plain,
                    "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
                    "timeout": timedelta(seconds=TRY_TIMEOUT_S),
                },
                credential_provider=keys,
                retry_config={"max_retries": RETRIES_MAX, "retry_timeout": timedelta(seconds=RETRY_FOR_S)},
            )
        except exceptions.BaseError as error:
            raise ConfigurationError(f"the bucket {self.shown} cannot be used: {_first_line(error)}") from error

    async def put(self, path: str, data: bytes) -> None:
        """On return the object is durable and complete, and has replaced any other."""
        await self._put(path, data, "overwrite")

    async def put_if(self, path: str, data: bytes, tag: str | None) -> None:
        """As `put`, if the existing object still has this tag; None means that there must be no object.

        Raises `Conflict`, and `ConditionsUnknown` if the store does not support conditional writes.
        """
        await self._put(path, data, "create" if tag is None else {"e_tag": tag})

    async def get(self, path: str, start: int = 0, length: int | None = None) -> Piece:
        """Up to `length` bytes from `start`, fewer at the end. Raises `FileNotFoundError`."""
        options: Any = {} if length is None else {"range": (start, start + length)}
        async with self._turn(LARGE_BYTES if length is None else length), self._bounded(path):
            result = await self._obstore.get_async(self._store, path, options=options)
            tag = result.meta.get("e_tag") or ""
            return Piece(bytes(await result.bytes_async()), tag)

    async def head(self, path: str) -> Piece:
        """The object's tag, without its bytes. Raises `FileNotFoundError`."""
        async with self._bounded(path):
            found = await self._obstore.head_async(self._store, path)
            return Piece(b"", found.get("e_tag") or "")

    async def listing(self, folder: str) -> list[Listed]:
        """Every object below `folder`, in no particular order."""
        return [each async for each in self.walk(folder)]

    async def walk(self, folder: str) -> AsyncIterator[Listed]:
        """As `listing`, without holding all of them in memory; the time limit applies to each thousand."""
        stream = self._obstore.list(self._store, folder, chunk_size=1000)
        while True:
            async with self._bounded(folder):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            for found in chunk:
                yield Listed(found["path"], found["size"], found["last_modified"].timestamp())

    async def holds(self, folder: str) -> bool:
        """Whether there is any object below `folder`."""
        async for _found in self.walk(folder):
            return True
        return False

    async def delete(self, paths: Collection[str]) -> None:
        """Deletes these objects; a missing one counts as deleted."""
        if paths:
            async with self._bounded(next(iter(paths))):
                await self._obstore.delete_async(self._store, list(paths))

    async def _put(self, path: str, data: bytes, mode: "PutMode") -> None:
        try:
            async with self._turn(len(data)), self._bounded(path):
                await self._obstore.put_async(self._store, path, data, use_multipart=False, mode=mode)
        except FileNotFoundError as error:
            raise StoreUnavailable(f"{self.shown}: there is no such bucket") from error

    def _turn(self, size: int) -> AbstractAsyncContextManager[None]:
        """Waits until a transfer of this size may start; its time limit starts after that."""
        return self._large_turn() if size >= LARGE_BYTES else nullcontext()

    @asynccontextmanager
    async def _large_turn(self) -> AsyncIterator[None]:
        """Refuses a waiter if others only failed meanwhile: otherwise each would wait for a failing store in turn."""
        done, failed = self._large_done, self._large_failed
        async with self._large:
            if self._large_failed > failed and self._large_done == done:
                raise StoreUnavailable(f"{self.shown}: transfers that began before this one have failed")
            try:
                yield
            except StoreUnavailable:
                self._large_failed += 1
                raise
            self._large_done += 1

    @asynccontextmanager
    async def _bounded(self, path: str) -> AsyncIterator[None]:
        """Limits the time, and translates the library's errors."""
        errors = self._errors
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                yield
        except TimeoutError as error:
            raise StoreUnavailable(f"{self.shown}: no answer within {REQUEST_TIMEOUT_S:g} s ({path})") from error
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self.shown}/{path}") from error
        except (errors.AlreadyExistsError, errors.PreconditionError) as error:
            raise Conflict(path) from error
        except (NotImplementedError, errors.NotSupportedError) as error:
            raise ConditionsUnknown from error
        except (errors.BaseError, OSError) as error:
            raise StoreUnavailable(f"{self.shown}: {_first_line(error)} ({path})") from error


def _first_line(error: Exception) -> str:
    """The error without the library's internal details."""
    return str(error).partition("\n")[0][:SHOWN_MAX]
