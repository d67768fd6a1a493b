"""Turns a caller's code, sent as base64 text or as an object in a bucket, into a package on disk.

Called by `control.functions` and `control.layers`; created by `app`, which knows whether there is object storage. The
catalog refers to packages, not to the sent code.
"""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable

import structlog
from msgspec import UNSET, UnsetType

from sesame.control import checks
from sesame.control.code_uploads import CodeUploads
from sesame.control.inputs import CodeInput
from sesame.control.requester import Requester
from sesame.model import limits
from sesame.model.errors import Missing, NotFound, Unusable
from sesame.model.function import Package
from sesame.store.catalog import Transaction
from sesame.store.packages.packages import Packages

FetchObject = Callable[[str, str, Requester], Awaitable[bytes]]

log = structlog.get_logger(__name__)


class CodeSource:
    """`fetch_object(bucket, key, by)` returns the bytes or raises a caller's error.

    Both it and `uploads` are None without object storage.
    """

    def __init__(
        self, packages: Packages, fetch_object: FetchObject | None, uploads: CodeUploads | None = None
    ) -> None:
        self._packages = packages
        self._fetch_object = fetch_object
        self.uploads = uploads

    async def package(self, code: CodeInput, runtime: str, expected_checksum: str = "", *, by: Requester) -> Package:
        """The code as a package compiled for `runtime`.

        Raises `Rejected` if it cannot be read or unpacked, or does not match `expected_checksum`.
        """
        archive = await self._archive(code, by)
        package = await self._packages.add(archive, runtime)
        if expected_checksum not in ("", package.checksum):
            raise Unusable(
                f"the checksum of the code package is '{package.checksum}', but "
                f"'{checks.shown(expected_checksum)}' was announced: send the package again"
            )
        return package

    async def for_runtime(self, package: Package, runtime: str) -> Package:
        """The same code, which will be compiled for another runtime too."""
        self._packages.want_compiled(package.sha256, runtime)
        return package

    def take(self, tx: Transaction, code: CodeInput | UnsetType, *, by: Requester) -> None:
        """Ends the code's upload, in the transaction that uses the code: an upload is used once.

        Raises `Rejected` if it has been used since its package was made.
        """
        if self.uploads is not None and code is not UNSET and self.uploads.owns(code.oss_bucket_name):
            self.uploads.take(tx, code.oss_bucket_name, code.oss_object_name, by)

    async def taken(self, code: CodeInput | UnsetType) -> None:
        """Call after that transaction; deletes the upload, or leaves it to the sweep of expired uploads."""
        if self.uploads is not None and code is not UNSET and self.uploads.owns(code.oss_bucket_name):
            try:
                await self.uploads.discard(code.oss_bucket_name, code.oss_object_name)
            except OSError as error:
                log.error("a used upload of code cannot be removed yet", key=code.oss_object_name, error=str(error))

    async def check_layout(self, package: Package, handler: str) -> None:
        """Raises `Rejected` if the package was zipped together with its outer folder."""
        hint = await asyncio.to_thread(self._packages.hint, package, handler)
        if hint:
            raise Unusable(hint)

    async def _archive(self, code: CodeInput, by: Requester) -> bytes:
        from_bucket = bool(code.oss_bucket_name or code.oss_object_name)
        if bool(code.zip_file) == from_bucket:
            raise Missing("code")
        if isinstance(code.zip_file, bytes):
            return code.zip_file
        if code.zip_file:
            return await asyncio.to_thread(_decoded, code.zip_file)
        if not code.oss_bucket_name or not code.oss_object_name:
            raise Missing("code")
        if self.uploads is not None and self.uploads.owns(code.oss_bucket_name):
            return await self.uploads.read(code.oss_bucket_name, code.oss_object_name, by)
        where = f"object '{code.oss_object_name}' in bucket '{code.oss_bucket_name}'"
        if self._fetch_object is None:
            reason = "no object storage is served here; send the package itself"
            raise Unusable(f"the code cannot be read from {where}: {reason}")
        try:
            return await self._fetch_object(code.oss_bucket_name, code.oss_object_name, by)
        except NotFound as error:
            raise Unusable(f"the code cannot be read from {where}: {error}") from error


def _decoded(text: str) -> bytes:
    # Some encoders break lines; any other character outside the alphabet is an error.
    text = text.replace("\n", "").replace("\r", "")
    if len(text) // 4 * 3 - 2 > limits.CODE_ZIP_BYTES:
        raise Unusable(
            f"the code package is too large: found about {len(text) // 4 * 3} bytes, "
            f"expected at most {limits.CODE_ZIP_BYTES}; put it into a bucket or a layer"
        )
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        reason = f"is not base64 ({error}): expected the base64 text of a zip archive"
        raise Unusable(reason, field="code.zip_file") from error
