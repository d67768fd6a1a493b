"""Downloads archives of known SHA-256: resumes interrupted downloads, and keeps only files with the right digest.

Used by `obtain.conda`. A finished archive is never downloaded again.
"""

import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import msgspec

from sesame.model.errors import ConfigurationError

CHUNK_BYTES = 256 * 1024
CONNECTION_TIMEOUT_S = 30.0
ATTEMPTS = 3
PROGRESS_INTERVAL_S = 2.0
_PARTIAL, _RANGE_REFUSED = 206, 416

Progress = Callable[[str], None]


class Wanted(msgspec.Struct, frozen=True):
    """One archive: its URL, its SHA-256 in hexadecimal and its size in bytes."""

    url: str
    sha256: str
    size: int

    @property
    def file_name(self) -> str:
        return self.url.rpartition("/")[2]


class DownloadFailed(ConfigurationError):
    """The archive could not be downloaded from its URL."""


class Downloads:
    """A directory of archives. `proxy` is a URL for http and https; None uses the environment's proxies."""

    def __init__(self, folder: Path, proxy: str | None = None) -> None:
        self._folder = folder
        handlers = [urllib.request.ProxyHandler({"http": proxy, "https": proxy})] if proxy else []
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, wanted: Wanted, progress: Progress) -> Path:
        """Returns the archive's path. Raises `DownloadFailed` if it cannot be downloaded or has the wrong digest."""
        final = self._folder / wanted.file_name
        if final.exists() and _digest(final) == wanted.sha256:
            return final
        self._folder.mkdir(parents=True, exist_ok=True)
        part = final.with_name(f"{final.name}.{wanted.sha256[:16]}.part")
        self._complete(wanted, part, progress)
        found = _digest(part)
        if found != wanted.sha256:
            part.unlink()
            raise DownloadFailed(
                f"{wanted.url} is not what was expected: its SHA-256 is {found}, expected {wanted.sha256}. "
                "It was not kept"
            )
        os.replace(part, final)
        return final

    def _complete(self, wanted: Wanted, part: Path, progress: Progress) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            have = part.stat().st_size if part.exists() else 0
            if have and have >= wanted.size:
                return
            try:
                self._continue(wanted, part, have, progress)
            except OSError as error:
                if attempt == ATTEMPTS or not _may_pass(error):
                    raise DownloadFailed(f"{wanted.url} cannot be had: {_reason(error)}") from error
                progress(f"{wanted.file_name}: {_reason(error)}; trying again")
            else:
                if part.stat().st_size >= wanted.size:
                    return
        raise DownloadFailed(f"{wanted.url} broke off {ATTEMPTS} times; the next try continues from there")

    def _continue(self, wanted: Wanted, part: Path, have: int, progress: Progress) -> None:
        request = urllib.request.Request(wanted.url, headers={"User-Agent": "sesame"})
        if have:
            request.add_header("Range", f"bytes={have}-")
        try:
            answer = self._opener.open(request, timeout=CONNECTION_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            if error.code != _RANGE_REFUSED:
                raise
            part.unlink()
            answer = self._opener.open(urllib.request.Request(wanted.url), timeout=CONNECTION_TIMEOUT_S)
        with answer, part.open("ab" if getattr(answer, "status", None) == _PARTIAL else "wb") as file:
            reported_at = time.monotonic()
            while chunk := answer.read(CHUNK_BYTES):
                file.write(chunk)
                if time.monotonic() - reported_at > PROGRESS_INTERVAL_S:
                    reported_at = time.monotonic()
                    progress(f"{wanted.file_name}: {file.tell() / 1e6:.0f} of {wanted.size / 1e6:.0f} MB")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _may_pass(error: OSError) -> bool:
    """Whether retrying may help: an HTTP refusal is permanent, a failure of the server or the network is not."""
    return not isinstance(error, urllib.error.HTTPError) or error.code >= 500


def _reason(error: OSError) -> str:
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        return str(error.reason)
    return str(error)
