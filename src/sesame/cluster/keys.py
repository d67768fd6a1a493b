"""The key of a cluster: a file shared by its nodes, with which each proves to the others that it belongs to them.

Created by `sesame cluster key`, read by every process of a node, used by `handshake`.
"""

import os
import secrets
import stat
from pathlib import Path

from sesame.model.errors import ConfigurationError

KEY_BYTES = 32
# Its name in a data directory.
KEY_FILE = "cluster.key"
_READ_BYTES = 4096


def make_key(path: Path) -> None:
    """Writes a new key, readable only by its owner. Raises `ConfigurationError` if `path` exists or cannot be made."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConfigurationError(
            f"{path} is there already, and nodes may use it: a cluster has one key. To change it, make another file, "
            "stop every node, and run `sesame cluster rekey`"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"cannot make {path}: {error.strerror}; choose another file") from error
    with os.fdopen(descriptor, "w") as file:
        # Exactly this mode, whatever the process's umask.
        os.fchmod(file.fileno(), 0o600)
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_key(path: Path) -> bytes:
    """Returns the key. Raises `ConfigurationError` if the file is no key or is readable by others than its owner."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the key of the cluster, {path}: {error.strerror}; make one with `sesame cluster key {path}` "
            "on one node, and copy it to the others"
        ) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError(f"the key of the cluster, {path}, is not a file; name the file that has the key")
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigurationError(
                f"the key of the cluster, {path}, has mode {stat.S_IMODE(found.st_mode):04o}, so that others than its "
                f"owner may use it; if nobody did, run `chmod 600 {path}`, else make another key"
            )
        if found.st_uid not in (0, os.geteuid()):
            raise ConfigurationError(
                f"the key of the cluster, {path}, belongs to user {found.st_uid}, who may read it; have it belong to "
                f"user {os.geteuid()}, as who Sesame runs"
            )
        text = os.read(descriptor, _READ_BYTES)
    finally:
        os.close(descriptor)
    try:
        key = bytes.fromhex(text.strip().decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError(
            f"{path} is not a key of a cluster, which is {2 * KEY_BYTES} hexadecimal digits; make one with "
            "`sesame cluster key`, or copy that of another node whole"
        )
    return key
