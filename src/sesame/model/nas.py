"""NAS mounts of a function: the server and directory, the mount point, and the files' owner.

Addresses are validated by `control`, and resolved by `sandbox.volumes`, which has one host directory for each
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
    """`mount_dir` is absolute and normalized. An id of -1 lets the platform choose."""

    server_addr: str
    mount_dir: str
    user_id: int
    group_id: int


class NasAddress(msgspec.Struct, frozen=True):
    """A server in lower case, and the path on it as parts; no parts mean the server's root."""

    server: str
    parts: tuple[str, ...]


def parse_server_address(address: str) -> NasAddress | None:
    """None if `address` is malformed; an address without a path means the server's root."""
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
    """An absolute path without doubled or trailing slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")
