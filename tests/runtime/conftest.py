"""Puts functions of tests/functions on a stage: a real driver, a real interpreter, one instance after the other.

Used by the tests of the runtime contract, and by tests/sandbox through its own conftest.
Skips what a missing interpreter cannot run, and says which is missing.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest
import pytest_asyncio
from tests.support.interpreters import BETWEEN, INTERPRETERS, NEWEST, OLDEST
from tests.support.jails import ISOLATION

from sesame.sandbox.interface import Call, KillReason, Reply, SandboxDriver, SandboxSpec
from sesame.sandbox.launch import Launch
from sesame.sandbox.process.driver import PlainDriver

FUNCTIONS = Path(__file__).parents[1] / "functions"
PATIENCE_S = 60.0
# The contract is held under each runtime and by each driver. By `make test-all` each runtime has its turn under one of
# them, which is the jail for these (tests/sandbox/test_jail_contract.py); in `make test` the first two of the jail and
# the first of the other driver; each pair is tried by `make torture`.
IN_A_JAIL, IN_THE_OPEN = (OLDEST, NEWEST, BETWEEN[0]), (BETWEEN[2], BETWEEN[1])
IN_EVERY_RUN = (*IN_A_JAIL[:2], IN_THE_OPEN[0])

_serial = itertools.count(1)
# By driver, which ends them: those of `Stage.shared`.
_SHARED: WeakKeyDictionary[SandboxDriver, dict[tuple[str, str, str], "Actor"]] = WeakKeyDictionary()

NO_KEYS = {"access_key_id": "", "access_key_secret": "", "security_token": ""}


def meta(**changes: Any) -> dict[str, Any]:
    """What comes with a call; `changes` replace the ordinary values."""
    return {
        "qualifier": "LATEST",
        "version_id": "LATEST",
        "retry_count": 0,
        "credentials": NO_KEYS,
        "tracing": None,
        "http_params": None,
        **changes,
    }


def setup(**function: Any) -> dict[str, Any]:
    """The static part of a context; `function` replaces what is said of the function."""
    return {
        "account_id": "1234567890",
        "region": "cn-shanghai",
        "service": {"name": "svc", "log_project": "project", "log_store": "store"},
        "function": {
            "name": "fn",
            "handler": "index.handler",
            "memory": 128,
            "timeout": 3,
            "initializer": "",
            "initialization_timeout": 3,
            **function,
        },
        "pre_freeze": "",
        "pre_stop": "",
        "notice": "",
    }


class Actor:
    """One instance and what it wrote."""

    def __init__(self) -> None:
        self.output = bytearray()
        self.take: Callable[[bytes], None] = self.output.extend
        self.deaths = 0
        self.died = asyncio.Event()
        self.sandbox: Any = None

    async def invoke(
        self, event: bytes = b"", *, request_id: str = "req-1", kind: str = "invoke", **changes: Any
    ) -> Reply:
        async with asyncio.timeout(PATIENCE_S):
            return await self.sandbox.call(Call(kind, request_id, meta(**changes), event))

    async def error(self, event: bytes = b"", **more: Any) -> dict[str, Any]:
        """The error body of a call that must fail."""
        reply = await self.invoke(event, **more)
        assert not reply.ok, reply.payload[:200]
        return json.loads(reply.payload)

    async def json(self, event: bytes = b"", **more: Any) -> Any:
        reply = await self.invoke(event, **more)
        assert reply.ok, reply.payload.decode()
        return json.loads(reply.payload)

    @property
    def text(self) -> str:
        return self.output.decode("utf-8", "surrogateescape")

    def lines(self) -> list[str]:
        """Everything after the line that every runtime begins with."""
        return self.text.splitlines()[1:]

    def on_death(self) -> None:
        self.deaths += 1
        self.died.set()


class Stage:
    """Starts instances of one runtime and ends them all."""

    def __init__(self, driver: SandboxDriver, runtime: str) -> None:
        self.driver = driver
        self.runtime = runtime
        self.py2 = runtime == "python2.7"
        self._actors: list[Actor] = []

    async def start(self, case: str | Path, handler: str = "index.handler", **more: Any) -> Actor:
        """An instance of a function; `more` are fields of `SandboxSpec`, or `initializer`."""
        actor = Actor()
        function = {"handler": handler, "initializer": more.pop("initializer", "")}
        spec = SandboxSpec(
            **{
                "instance_id": f"c-test-{next(_serial)}",
                "runtime": self.runtime,
                "code_dir": FUNCTIONS / case,
                "layer_dirs": (),
                "environment": {"FC_FUNC_CODE_PATH": "/code/", "HOME": "/tmp", "LANG": "C.UTF-8"},
                "memory_mb": 512,
                "disk_mb": 512,
                "setup": {**setup(**function), **more.pop("setup", {})},
                **more,
            }
        )
        actor.sandbox = await self.driver.create(spec, lambda data: actor.take(data), actor.on_death)
        self._actors.append(actor)
        return actor

    async def shared(self, case: str, handler: str = "index.handler") -> Actor:
        """An instance that the module's tests share, each of which leaves it as it was; with nothing written yet."""
        instances = _SHARED.setdefault(self.driver, {})
        actor = instances.get((self.runtime, case, handler))
        if actor is None or actor.deaths:
            actor = await self.start(case, handler)
            self._actors.remove(actor)
            instances[self.runtime, case, handler] = actor
        actor.output.clear()
        return actor

    def code(self, case: str) -> str:
        """Where the function sees its code: a jail shows it as the cloud does."""
        return "/code" if self.driver.name == "jail" else str(FUNCTIONS / case)

    def code_of(self, directory: Path) -> str:
        """The same of a function whose code is a directory of the test's own."""
        return "/code" if self.driver.name == "jail" else str(directory)

    @property
    def interpreter(self) -> str:
        return str(INTERPRETERS[self.runtime].path)

    def layer(self, directory: Path) -> bytes:
        """Where the function sees a layer: a jail merges them all."""
        return b"/opt" if self.driver.name == "jail" else str(directory).encode()

    async def clear(self) -> None:
        for actor in self._actors:
            await actor.sandbox.kill(KillReason.FAILED)
        self.forget()

    def forget(self) -> None:
        """The instances made so far are not ended by `clear`."""
        self._actors.clear()


def resolve(runtime: str) -> Launch:
    interpreter = INTERPRETERS.get(runtime)
    if interpreter is None:
        raise LookupError(f"no interpreter for {runtime}")
    return Launch(interpreter.path)


def runtimes(*, jail: bool) -> list[Any]:
    """Those of one driver, as parameters; the plain one has every runtime where no jail can be made."""
    every = (OLDEST, *BETWEEN, NEWEST)
    its_own = IN_A_JAIL if jail else IN_THE_OPEN if ISOLATION.possible else every

    def marks(each: str) -> Any:
        if each not in its_own:
            return pytest.mark.torture
        return () if each in IN_EVERY_RUN or its_own == every else pytest.mark.thorough

    return [pytest.param(each, marks=marks(each)) for each in every]


@pytest.fixture(scope="module", params=runtimes(jail=False))
def runtime(request: pytest.FixtureRequest) -> str:
    if request.param not in INTERPRETERS:
        pytest.skip(f"no interpreter found for {request.param}")
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PlainDriver]:
    driver = PlainDriver(resolve, tmp_path_factory.mktemp("plain") / "scratch")
    await driver.open()
    yield driver
    await driver.close()


@pytest_asyncio.fixture(loop_scope="module")
async def stage(driver: SandboxDriver, runtime: str) -> AsyncIterator[Stage]:
    stage = Stage(driver, runtime)
    yield stage
    await stage.clear()


@pytest.fixture
def until() -> Callable[..., Any]:
    """Waits for a real process to have done something, to a deadline. Some tests count the looks, which cost little."""

    async def wait(true: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
        async with asyncio.timeout(seconds):
            while not (value := true()):  # noqa: ASYNC110 (another process does it: there is no event)
                await asyncio.sleep(0.005)
        assert value, what
        return value

    return wait
