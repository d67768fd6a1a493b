"""NAS mounts of a function: which server's directory is shown where, and as whose files.

Addresses are read by `control`, which refuses others, and by `sandbox.volumes`, which has a directory for each
(reference/api.md §3.1).
"""

import posixpath
import re

import msgspec

SERVER_ADDRESS_FORM = "SERVER:/PATH, such as 0123-abc.cn-shanghai.nas.aliyuncs.com:/data, without '..'"
SERVER_ADDRESS_CHARS = 1024
_SERVER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\Z")
_PART_BYTES = 255


class NasMount(msgspec.Struct, frozen=True, kw_only=True):
    """`mount_dir` is absolute and normalized. An id of -1 leaves the choice to the platform."""

    server_addr: str
    mount_dir: str
    user_id: int
    group_id: int


class NasAddress(msgspec.Struct, frozen=True):
    """A server, in lower case, and the parts of a path on it; no parts are the server's root."""

    server: str
    parts: tuple[str, ...]


def parse_server_address(address: str) -> NasAddress | None:
    """None for what is no address; one without a path is the server's root."""
    server, _colon, path = address.partition(":")
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    wrong = (
        len(address) > SERVER_ADDRESS_CHARS
        or not _SERVER.match(server)
        or (path and not path.startswith("/"))
        or any(part == ".." or "\0" in part or len(part.encode()) > _PART_BYTES for part in parts)
    )
    return None if wrong else NasAddress(server.lower(), parts)


def normalized_directory(path: str) -> str:
    """An absolute path without doubled and trailing slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")
