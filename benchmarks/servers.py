"""Starts what is measured as processes of their own: a Sesame with one deployed function, and its peers.

Used by the benchmarks; every server listens on 127.0.0.1, on a free port, and is ended when its context closes.
Never measures anything.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate
from http.client import HTTPResponse
from pathlib import Path

import fc2
import msgspec

from benchmarks.load import http_request

READY_TIMEOUT_S = 60.0
LOOK_AGAIN_S = 0.02
HELLO = "def my_handler(event, context):\n    return 'hello world'\n"
HELLO_HTTP = "def hello(request):\n    return 'hello world'\n"


class Endpoint(msgspec.Struct, frozen=True):
    """Where a Sesame listens, with which keys it is called, and its process."""

    port: int
    account_id: str
    region: str
    access_key_id: str
    access_key_secret: str
    pid: int

    def client(self) -> "fc2.Client":
        return fc2.Client(
            endpoint=f"http://127.0.0.1:{self.port}",
            accessKeyID=self.access_key_id,
            accessKeySecret=self.access_key_secret,
        )

    def signed_invocation(self, service: str, function: str, body: bytes = b"") -> bytes:
        """One invocation request as it stands on the wire."""
        return self.signed("POST", f"/2016-08-15/services/{service}/functions/{function}/invocations", body=body)

    def signed(
        self, method: str, path: str, *, query: str = "", body: bytes = b"", fc_headers: Mapping[str, str] | None = None
    ) -> bytes:
        """One request as it stands on the wire; its signature holds for the 15 minutes of allowed skew.

        `fc_headers` have lower-case names that begin with `x-fc-`.
        """
        date = formatdate(usegmt=True)
        ours = {"x-fc-account-id": self.account_id, **(fc_headers or {})}
        lines = "".join(f"{name}:{ours[name]}\n" for name in sorted(ours))
        text = f"{method}\n\napplication/octet-stream\n{date}\n{lines}{path}"
        signature = base64.b64encode(hmac.digest(self.access_key_secret.encode(), text.encode(), hashlib.sha256))
        headers = {
            "Host": f"127.0.0.1:{self.port}",
            "Content-Type": "application/octet-stream",
            "Date": date,
            **ours,
            "Authorization": f"FC {self.access_key_id}:{signature.decode()}",
        }
        return http_request(method, path + query, headers, body)


@contextlib.contextmanager
def package(files: dict[str, str]) -> Iterator[str]:
    """The path of a zip that holds `files`, as the SDK wants it."""
    with tempfile.TemporaryDirectory(prefix="sesame-bench-code-") as folder:
        path = Path(folder) / "code.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        yield str(path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(command: list[str], cwd: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs `command` in a session of its own and ends the whole session afterwards."""
    log = cwd / "server.log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **env}, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield child
    except BaseException:
        sys.stderr.write(log.read_text(errors="replace")[-4000:])
        raise
    finally:
        if child.poll() is None:
            child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait(10)


@contextlib.contextmanager
def sesame(*flags: str, checkout: Path | None = None) -> Iterator[Endpoint]:
    """A fresh Sesame in a temporary folder, ready for calls.

    `checkout` names another checkout of this project, with a `.venv` that `make install` made there; the server is
    then that one's. None means the checkout that runs the benchmark.
    """
    python = sys.executable if checkout is None else str(checkout.absolute() / ".venv/bin/python")
    folder = Path(tempfile.mkdtemp(prefix="sesame-bench-"))
    key_id, secret = "bench-key", "bench-secret-0123456789"
    command = [python, "-m", "sesame", "start", "--data-dir", str(folder / "data"), "--port", "0"]
    command += ["--oss-port", "0", "--access-key-id", key_id, "--access-key-secret", secret, *flags]
    try:
        with process(command, folder, {}) as child:
            ready = folder / "data" / "endpoints.json"
            wait_for(lambda: ready.exists() or child.poll() is not None)
            if child.poll() is not None:
                raise RuntimeError(f"sesame start ended with {child.returncode}")
            said = json.loads(ready.read_text())
            port = int(said["fc"].rsplit(":", 1)[1])
            yield Endpoint(port, said["account_id"], said["region"], key_id, secret, child.pid)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def functions_framework(workers: int | None) -> Iterator[int]:
    """functions-framework-python under gunicorn, by default or with `workers` processes; gives its port."""
    folder = Path(tempfile.mkdtemp(prefix="sesame-bench-peer-"))
    (folder / "main.py").write_text(HELLO_HTTP)
    port = free_port()
    tool = Path(sys.executable).with_name("functions-framework")
    command = [str(tool), "--target", "hello", "--host", "127.0.0.1", "--port", str(port)]
    try:
        with process(command, folder, {} if workers is None else {"WORKERS": str(workers)}) as child:
            wait_for(lambda: child.poll() is not None or accepts(port))
            if child.poll() is not None:
                raise RuntimeError(f"functions-framework ended with {child.returncode}")
            yield port
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def answer(port: int, request: bytes, status: int = 200) -> bytes:
    """The body that comes back for one request."""
    with socket.create_connection(("127.0.0.1", port), timeout=READY_TIMEOUT_S) as connection:
        connection.sendall(request)
        response = HTTPResponse(connection)
        response.begin()
        if response.status != status:
            raise RuntimeError(f"expected {status}, found {response.status}: {response.read()[:200]!r}")
        return response.read()


def wait_for(condition: Callable[[], bool], what: str = "the server", timeout_s: float = READY_TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come up within {timeout_s:.0f} s")
        time.sleep(LOOK_AGAIN_S)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
