"""A real Sesame for the journeys: `sesame start` in a process of its own, on free ports, with a directory of its own.

Everything goes through its endpoints with the official SDK; of Sesame only the names of the runtimes are imported.
SESAME_TEST_SANDBOX names the driver (default: auto, the strongest that holds here), SESAME_TEST_AGENTS how many agents.
"""

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeGuard

import fc2
import psutil
import pytest
from tests.support import command_line, few_runtimes, forked
from tests.support.forked import Forked
from tests.support.interpreters import INTERPRETERS
from tests.support.pauses import Pauses
from tests.support.signer import Api

from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS, how_to_get

FUNCTIONS = Path(__file__).parents[1] / "functions"
SANDBOX = os.environ.get("SESAME_TEST_SANDBOX", "auto")
# With more than one, every journey goes through that many agents (docs/agents.md).
AGENTS = os.environ.get("SESAME_TEST_AGENTS", "1")
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
ACCOUNT_ID, REGION, KEY_ID, SECRET = "1234567890123456", "cn-shanghai", "journey-key", "journey-secret-0123456789"

RUNTIMES = [
    pytest.param(runtime)
    if runtime in INTERPRETERS
    else pytest.param(runtime, marks=pytest.mark.skip(f"no interpreter for {runtime}: {how_to_get(runtime)}"))
    for runtime in MINOR_VERSIONS
]
EVERY_RUNTIME = pytest.mark.parametrize("runtime", RUNTIMES)
THE_MANUALS = pytest.mark.parametrize("runtime", RUNTIMES[:2])
_numbers = itertools.count(1)


def one_agent(why: str) -> pytest.MarkDecorator:
    """For what several agents do not do: `why` completes a sentence."""
    return pytest.mark.skipif(AGENTS != "1", reason=f"{AGENTS} agents {why}")


def oldest_and_newest(runtimes: Sequence[Any], between: pytest.MarkDecorator = pytest.mark.torture) -> list[Any]:
    """Those between them have their turn in `make torture`: tests/runtime holds the contract under each."""
    return [runtimes[0], *(_later(each, between) for each in runtimes[1:-1]), *runtimes[-1:]]


def newest(runtimes: Sequence[Any]) -> list[Any]:
    """The same, with the oldest by `make test-all` only."""
    oldest, *others = oldest_and_newest(runtimes)
    return [_later(oldest, pytest.mark.thorough), *others]


def _later(runtime: Any, tier: pytest.MarkDecorator) -> Any:
    return pytest.param(*runtime.values, marks=[*runtime.marks, tier])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The newest runtime, and the oldest by `make test-all`, unless a test names its own.

    Where the promise is of each runtime, `EVERY_RUNTIME`; tests that wait in real time are content with `THE_MANUALS`.
    """
    marks = metafunc.definition.iter_markers("parametrize")
    named = {name for mark in marks for name in ([mark.args[0]] if isinstance(mark.args[0], str) else mark.args[0])}
    if "runtime" in metafunc.fixturenames and "runtime" not in named:
        metafunc.parametrize("runtime", newest(RUNTIMES))


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
    """Polls until `condition` gives something true, and gives that."""
    deadline, pauses = time.monotonic() + timeout_s, Pauses(0.02)
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s} s"
        pauses.block()
    return value


class Sesame:
    """One data directory and the server that runs on it, if any."""

    def __init__(
        self,
        folder: Path,
        *flags: str,
        runtime: str | tuple[str, ...] = (),
        program: tuple[str, ...] = (),
        agents: str | None = AGENTS,
    ) -> None:
        """Has every runtime that is found, or those that are named: then it starts the sooner.

        Is forked; or started by the interpreter with `program` before `start`. `agents` are None where its settings
        say how many.
        """
        self.data_dir = folder / "data"
        self.log = folder / "sesame.log"
        few = (runtime,) if isinstance(runtime, str) else runtime
        self._flags = (*few_runtimes.flags(*few), *flags) if few else flags
        self._environ = few_runtimes.environ(*few) if few else None
        self._program = program
        self._agents = () if agents is None else ("--agents", agents)
        self._process: Forked | subprocess.Popen[bytes] | None = None
        self._seen: set[psutil.Process] = set()
        self._cgroup: re.Pattern[str] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        ready = self.data_dir / "endpoints.json"
        assert not ready.exists(), "endpoints.json of a server that is not running"
        arguments = ["start", "--data-dir", str(self.data_dir), "--sandbox", SANDBOX, "--port", "0", "--oss-port", "0"]
        arguments += ["--account-id", ACCOUNT_ID, "--region", REGION, *self._agents]
        arguments += ["--access-key-id", KEY_ID, "--access-key-secret", SECRET, *self._flags]
        with self.log.open("ab") as log:
            self._process = process = self._started(arguments, log)
        wait_until(lambda: ready.exists() or process.poll() is not None, "endpoints.json", READY_TIMEOUT_S)
        assert process.poll() is None, self.said()
        self.endpoint: str = json.loads(ready.read_text())["fc"]

    def _started(self, arguments: list[str], log: IO[bytes]) -> "Forked | subprocess.Popen[bytes]":
        if not self._program:
            return forked.start(*arguments, log=log.fileno(), environ=self._environ)
        command = [sys.executable, *self._program, *arguments]
        return subprocess.Popen(command, stdout=log, stderr=log, env=self._environ, start_new_session=True)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        """As an operator does: SIGTERM, and it ends by itself."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self.ended()
            finally:
                self.kill()

    def ended(self, code: int = 0) -> None:
        """Waits for the end of a server that was told to stop."""
        assert self._process is not None
        assert self._process.wait(STOP_TIMEOUT_S) == code, self.said()[-4000:]
        self._process = None

    def kill(self) -> None:
        """As the kernel does when memory is short: SIGKILL to the server alone."""
        if self._process is not None:
            self.processes()
            self._process.kill()
            self._process.wait()
            self._process = None
            (self.data_dir / "endpoints.json").unlink(missing_ok=True)

    def processes(self) -> list[psutil.Process]:
        """Every process that came from this server, itself included; also those that left its tree, or outlived it."""
        found = {process for process in self._seen if lives(process)}
        if self._process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                server = psutil.Process(self.pid)
                found |= {server, *server.children(recursive=True)}
            self._cgroup = re.compile(rf"/sesame-\d+-{self.pid}-")
        for pid in psutil.pids():
            if pid != os.getpid() and self._is_ours(pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    found.add(psutil.Process(pid))
        self._seen = found
        return sorted(found, key=lambda process: process.pid)

    def _is_ours(self, pid: int) -> bool:
        """By the data directory in what the process was started with, or by the control group of a jail.

        Read as the kernel has it: psutil takes ten times as long, and there are hundreds of processes.
        """
        mark, place = os.fsencode(self.data_dir), f"/proc/{pid}"
        try:
            for name in ("cmdline", "environ"):
                with open(f"{place}/{name}", "rb") as file:
                    if mark in file.read():
                        return True
            if mark in os.fsencode(os.readlink(f"{place}/cwd")):
                return True
            with open(f"{place}/cgroup") as file:
                groups = file.read()
        except OSError:
            return False
        return self._cgroup is not None and self._cgroup.search(groups) is not None

    def instances(self) -> list[psutil.Process]:
        """The processes that run functions, or are about to: below a zygote, or with a function's environment."""
        try:
            below = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [process for process in below if _is_instance(process)]

    def api(self, key_id: str = KEY_ID, secret: str = SECRET) -> Api:
        return Api(self.endpoint, key_id, secret)

    def client(self, **changes: str) -> fc2.Client:
        keys = {"accessKeyID": KEY_ID, "accessKeySecret": SECRET, "endpoint": self.endpoint, **changes}
        return fc2.Client(**keys)


def lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _is_instance(process: psutil.Process) -> bool:
    """In a jail what a zygote forked; in the open, what has a function's environment."""
    try:
        parent = process.parent()
        of_a_zygote = any(word.endswith("/zygote.py") for word in process.cmdline())
        if of_a_zygote:
            return parent is not None and any(word.endswith("/zygote.py") for word in parent.cmdline())
        return "FC_FUNC_CODE_PATH" in process.environ()
    except psutil.Error:
        return False


def runtimes_of(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Those that the tests of a module have as parameters, in this run."""
    params = [each.callspec.params for each in request.session.items if each.path == request.path and _has_params(each)]
    return tuple(sorted({str(each["runtime"]) for each in params if "runtime" in each}))


def _has_params(item: pytest.Item) -> TypeGuard[pytest.Function]:
    return isinstance(item, pytest.Function) and hasattr(item, "callspec")


@pytest.fixture(scope="session")
def sesame(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    """The server that most journeys share; each uses services of its own."""
    with running(tmp_path_factory.mktemp("sesame")) as server:
        yield server


@pytest.fixture
def own_sesame(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sesame]:
    """A server of one journey, to be stopped and killed; with no runtime but those that the test's module names."""
    with running(tmp_path, runtime=getattr(request.module, "RUNTIME", ())) as server:
        yield server


@contextlib.contextmanager
def running(
    folder: Path,
    *flags: str,
    runtime: str | tuple[str, ...] = (),
    program: tuple[str, ...] = (),
    agents: str | None = AGENTS,
) -> Iterator[Sesame]:
    server = Sesame(folder, *flags, runtime=runtime, program=program, agents=agents)
    try:
        server.start()
        yield server
    finally:
        try:
            server.stop()
        finally:
            for process in server.processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def run(sesame: Sesame, *arguments: str | Path, expect: int | None = 0) -> command_line.Done:
    """`sesame ARGUMENTS` in this process, for the server of this data directory."""
    return command_line.sesame(*arguments, "--data-dir", sesame.data_dir, expect=expect)


@pytest.fixture
def client(sesame: Sesame) -> fc2.Client:
    return sesame.client()


@pytest.fixture
def api(sesame: Sesame) -> Api:
    return sesame.api()


@pytest.fixture
def service(client: fc2.Client) -> str:
    """A service of this test alone."""
    name = f"journey-{next(_numbers)}"
    client.create_service(name)
    return name


class Deploy:
    """Deploys folders of tests/functions/ under one runtime."""

    def __init__(self, client: fc2.Client, service: str, runtime: str) -> None:
        self._client = client
        self._service = service
        self._runtime = runtime

    def __call__(self, case: str, **options: Any) -> Callable[..., Any]:
        """Creates a function from tests/functions/journey_<case>, else <case>, and gives what calls it."""
        name = options.pop("name", case)
        options = {"handler": "index.my_handler", "memorySize": 128, "timeout": 20, **options}
        folder = str(next(path for path in (FUNCTIONS / f"journey_{case}", FUNCTIONS / case) if path.is_dir()))
        self._client.create_function(self._service, name, runtime=self._runtime, codeDir=folder, **options)

        def call(event: bytes | str = b"", **headers: str) -> Any:
            sent = {key.replace("_", "-"): value for key, value in headers.items()}
            return self._client.invoke_function(self._service, name, payload=event, headers=sent)

        return call


@pytest.fixture
def deploy(client: fc2.Client, service: str, runtime: str) -> Deploy:
    return Deploy(client, service, runtime)


@pytest.fixture
def fails() -> Callable[..., dict[str, Any]]:
    return failure


def failure(call: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any]:
    """What the SDK raised: status, code, and the error's body."""
    with pytest.raises(fc2.FcError) as caught:
        call(*arguments, **options)
    body = json.loads(caught.value.message)
    return {"status": caught.value.status_code, "code": caught.value.err_code, **body}
