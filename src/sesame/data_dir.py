"""The data directory: its layout, its lock, and the files that tell commands where the running Sesame answers.

Used by `app`, which locks it, and by the commands (docs/data-directory.md).
"""

import fcntl
import os
import shlex
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from sesame.model.errors import ConfigurationError
from sesame.model.standing import Standing, standing_of
from sesame.store.durable import make_folder, sync_folder
from sesame.store.upkeep.layout import misplaced

# Below the directory: the addresses of a running Sesame, and the state of a node of a cluster.
ENDPOINTS_FILE, NODE_FILE = "endpoints.json", "node.json"
LOCK_PATIENCE_S = 0.5
PROCESS_START_SLACK_S = 1.0


class RestartRefused(msgspec.Struct, frozen=True):
    """When (Unix seconds) a running Sesame was asked to restart, and why it refused."""

    at: float
    why: str


class Endpoints(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`endpoints.json`: the addresses of a running Sesame. An endpoint that is not served is absent.

    `restarts` says that it restarts in place when asked to, as by `sesame restart`. `of_cluster` says that it is one of
    several nodes, of which one leads. `version` is the version that runs, from the Python `environment` (`sys.prefix`).
    """

    account_id: str
    region: str
    fc: str
    fc_https: str = ""
    oss: str = ""
    sls: str = ""
    sts: str = ""
    metrics: str = ""
    sandbox: str
    pid: int
    started_at: float
    restarts: bool = False
    restart_refused: RestartRefused | None = None
    of_cluster: bool = False
    version: str = ""
    environment: str = ""


class Credentials(msgspec.Struct, frozen=True):
    """`credentials.json`, readable by its owner only: the built-in account's own key."""

    account_id: str
    access_key_id: str
    access_key_secret: str


# Used in addition to `lock`, which a Sesame holds, and the writer of a cluster while it leads.
NODE_LOCK = "node.lock"


class DataDir:
    """One data directory. As a context manager it is created if missing, and locked against a second Sesame."""

    def __init__(
        self,
        path: Path,
        database: str | None = None,
        bucket: str | None = None,
        *,
        announced_elsewhere: bool = False,
    ) -> None:
        """`database` is the URL of the database with the directory's records; None means a file in the directory.

        `bucket` is the URL of the place with the bytes of its objects and code; None means the directory itself.
        `announced_elsewhere`: another process, which outlives this one, announces this Sesame's addresses.
        """
        self.path = path.absolute()
        self.database: Path | str = database or self.path / "sesame.db"
        self.bucket = bucket
        self.logs = self.path / "logs.db"
        self.logstores = self.path / "logstores.db"
        self.segments = self.path / "logstores"
        self.packages = self.path / "packages"
        self.objects = self.path / "objects"
        self.authority = self.path / "authority"
        self.sandboxes = self.path / "sandboxes"
        self.nas = self.path / "nas"
        self.images = self.path / "images"
        self.quarantine = self.path / "quarantine"
        # The data of a node's follower: copies of data that is elsewhere.
        self.of_follower = self.path / "follower"
        self._endpoints = self.path / ENDPOINTS_FILE
        self._credentials = self.path / "credentials.json"
        self._announced_elsewhere = announced_elsewhere
        self._lock: int | None = None

    def lock_for_node(self) -> int:
        """Keeps other nodes, and any Sesame of one machine, off the directory while the returned descriptor is open.

        The writer of the node also takes the other lock. Raises `ConfigurationError` if the directory is in use.
        """
        lock = self._locked(NODE_LOCK, "another node of a cluster")
        running = self.running()
        if running is not None and not running.of_cluster:
            os.close(lock)
            raise self._in_use("a Sesame of no cluster", str(running.pid))
        return lock

    def __enter__(self) -> "DataDir":
        self._lock = self._locked("lock", "another Sesame")
        if not self._announced_elsewhere and (holder := self._node()) is not None:
            self.__exit__(None, None, None)
            raise self._in_use("a node of a cluster", holder)
        # Left by a killed Sesame: a command that waits for the file must not find the old one.
        if not self._announced_elsewhere:
            self._endpoints.unlink(missing_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert self._lock is not None
        os.ftruncate(self._lock, 0)
        os.close(self._lock)
        self._lock = None

    def _locked(self, name: str, by: str) -> int:
        try:
            if not self.path.is_dir():
                make_folder(self.path.parent)
                self.path.mkdir(mode=0o700, exist_ok=True)
                sync_folder(self.path.parent)
            self._refuse_misplaced()
            lock = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self.refuse_file()
            raise ConfigurationError(
                f"the data directory {self.path} cannot be used: {error.strerror}; name another with --data-dir"
            ) from error
        if not _flock(lock):
            holder = _holder(lock)
            os.close(lock)
            raise self._in_use(by, holder)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        return lock

    def is_written(self) -> bool:
        """Whether a Sesame writes to the directory: among the nodes of a cluster only the leading one does."""
        try:
            lock = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def _node(self) -> str | None:
        """The process id of the node that uses the directory; None if none does."""
        try:
            lock = os.open(self.path / NODE_LOCK, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return None if _flock(lock) else _holder(lock)
        finally:
            os.close(lock)

    def _in_use(self, by: str, holder: str) -> ConfigurationError:
        return ConfigurationError(
            f"the data directory {self.path} is in use by {by} (pid {holder}): stop that one, or name another with "
            "--data-dir"
        )

    def announce(self, endpoints: Endpoints, credentials: Credentials) -> None:
        """Writes both files once every endpoint answers; each appears complete or not at all."""
        self._write(self._credentials, credentials)
        self._write(self._endpoints, endpoints)

    def withdraw(self) -> None:
        """Removes `endpoints.json`; the first step of a clean stop."""
        self._endpoints.unlink(missing_ok=True)

    def stand(self, standing: Standing) -> None:
        """Writes `node.json`, which is of no use once the node has ended. Raises `OSError`."""
        part = self.path / "node.part"
        part.write_bytes(msgspec.json.encode(standing))
        part.replace(self.path / NODE_FILE)

    def standing(self) -> Standing:
        """As `stand` has written it last; nothing is known where it was never, or cannot be read."""
        try:
            return standing_of(msgspec.json.decode((self.path / NODE_FILE).read_bytes()))
        except (OSError, msgspec.DecodeError):
            return Standing()

    def running(self) -> Endpoints | None:
        """The addresses of the Sesame that uses this directory; None if none runs, also after it was killed."""
        try:
            endpoints = msgspec.json.decode(self._endpoints.read_bytes(), type=Endpoints)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise self._unreadable(self._endpoints, error) from error
        try:
            return endpoints if lives(endpoints) else None
        except OSError as error:
            raise self._unreadable(self._endpoints, error) from error

    def began_at(self) -> float | None:
        """When the Sesame that runs or was killed here had started (Unix seconds); None after a clean stop."""
        try:
            return msgspec.json.decode(self._endpoints.read_bytes(), type=Endpoints).started_at
        except (OSError, msgspec.DecodeError):
            return None

    def refuse_file(self) -> None:
        """Raises `ConfigurationError` if the path, or one of its parents, is a file."""
        for place in (self.path, *self.path.parents):
            if os.path.lexists(place):
                if not place.is_dir():
                    raise ConfigurationError(
                        f"the data directory {self.path} cannot be used: {place} is there and is no directory; "
                        "name another with --data-dir"
                    )
                return

    def _refuse_misplaced(self) -> None:
        for each in misplaced(self.path):
            raise ConfigurationError(
                f"the data directory {self.path} cannot be used: {each}; move it away and start again, or name another "
                "data directory with --data-dir"
            )

    def require_running(self) -> Endpoints:
        """As `running`; raises `ConfigurationError` with the next step if none runs."""
        endpoints = self.running()
        if endpoints is None:
            self.refuse_file()
            raise ConfigurationError(
                f"no Sesame runs on the data directory {self.path}: start one with "
                f"`sesame start --data-dir {shlex.quote(str(self.path))}`, or name the right one with --data-dir"
            )
        return endpoints

    def credentials(self) -> Credentials:
        """The built-in account's key, as written by the last start."""
        try:
            return msgspec.json.decode(self._credentials.read_bytes(), type=Credentials)
        except (OSError, msgspec.DecodeError) as error:
            raise self._unreadable(self._credentials, error) from error

    def _unreadable(self, path: Path, error: Exception) -> ConfigurationError:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return ConfigurationError(
            f"{path} cannot be read: {why}; do this as the user who starts that Sesame, or name another directory with "
            "--data-dir"
        )

    def _write(self, path: Path, document: Any) -> None:
        part = path.with_suffix(".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)


def lives(endpoints: Endpoints) -> bool:
    """Whether the process that wrote `endpoints` still runs. Raises `OSError`."""
    # Imported late: only needed if a Sesame runs; local calls and completion need not wait for the import.
    import psutil

    try:
        process = psutil.Process(endpoints.pid)
        # A later process with the same pid did not write the file.
        if process.create_time() > endpoints.started_at + PROCESS_START_SLACK_S:
            return False
        # A zombie has ended, but its parent has not reaped it.
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _holder(lock: int) -> str:
    return os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"


def _flock(lock: int) -> bool:
    """Retries for a moment: the last child of a killed Sesame holds the lock until it has ended."""
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
