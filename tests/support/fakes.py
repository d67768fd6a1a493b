"""Stand-ins for what the engine is given: a sandbox driver without processes and a clock without time.

Used by tests of the engine. Keeps the promises of `sandbox.interface` and counts what a leak would show in.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from sesame.model.clocks import SystemClocks
from sesame.model.command import Command
from sesame.model.usage import Usage
from sesame.sandbox.interface import (
    Call,
    Death,
    Enforcement,
    InstanceSpec,
    KillReason,
    OnOutput,
    Reply,
    SandboxDied,
    SandboxStartFailed,
)


class FakeTimer:
    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


# Turns of the event loop in which tasks that were woken have done what they can without waiting for anything.
SETTLING_TURNS = 25


class FakeClocks:
    """Stands still until a test moves it; the wall clock runs beside the monotonic one until it is set.

    `pass_time` moves it for tasks: after each timer it lets them run on, until they wait for something else. What
    they wait for outside the event loop, such as a commit, is told to it by `settle_with`.
    """

    EPOCH = 1_700_000_000.0

    def __init__(self, wall: float | None = None) -> None:
        """`wall` (Unix seconds) is where the wall clock starts: today, where real clients check dates."""
        self._now = 1000.0
        self._offset = self.EPOCH if wall is None else wall - self._now
        self._settlers: list[Callable[[], Awaitable[object]]] = []
        self.timers: list[FakeTimer] = []
        self.wakes = 0

    def wall(self) -> float:
        return self._offset + self._now

    def set_wall(self, wall: float) -> None:
        """As an operator who sets the machine's clock: no timer fires by it, and monotonic time goes on."""
        self._offset = wall - self._now

    def monotonic(self) -> float:
        return self._now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(self._now + delay_s, callback)
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Runs every timer that falls due, in order, each at its own time."""
        until = self._now + seconds
        while due := sorted((t for t in self.timers if not t.cancelled and t.at <= until), key=lambda t: t.at):
            self.timers.remove(due[0])
            self._now = max(self._now, due[0].at)
            self.wakes += 1
            due[0].callback()
        self.timers = [t for t in self.timers if not t.cancelled]
        self._now = until

    async def sleep(self, delay_s: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        timer = self.call_later(delay_s, lambda: None if woken.done() else woken.set_result(None))
        try:
            await woken
        finally:
            timer.cancel()

    def settle_with(self, settler: Callable[[], Awaitable[object]]) -> None:
        """`settler()` is awaited whenever tasks are to settle; it returns when something outside the loop is quiet."""
        self._settlers.append(settler)

    async def settle(self) -> None:
        """Returns when tasks have done what they can without time passing."""
        await _turns()
        for settler in self._settlers:
            await settler()
            await _turns()

    async def pass_time(self, seconds: float) -> None:
        """Runs every timer that falls due, in order, each at its own time, and has tasks settle after each."""
        until = self._now + seconds
        await self.settle()
        while (soonest := self._soonest()) is not None and soonest.at <= until:
            self.advance(max(soonest.at - self._now, 0.0))
            await self.settle()
        self.advance(max(until - self._now, 0.0))
        await self.settle()

    def _soonest(self) -> FakeTimer | None:
        return min((timer for timer in self.timers if not timer.cancelled), key=lambda timer: timer.at, default=None)


class ReadFrom(SystemClocks):
    """Reads the time from what a test gives; timers are the event loop's, for tests that wait for real sockets."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def wall(self) -> float:
        return self._now()

    def monotonic(self) -> float:
        return self._now()


async def _turns() -> None:
    for _ in range(SETTLING_TURNS):
        await asyncio.sleep(0)


Behaviour = Callable[["FakeSandbox", Call], "Reply | SandboxDied | None"]


class FakeSandbox:
    """Answers what its driver's `behaviour` says; None means that the call hangs until killed or told to answer."""

    def __init__(
        self, driver: "FakeDriver", spec: InstanceSpec, on_output: OnOutput, on_death: Callable[[], None]
    ) -> None:
        self._driver = driver
        self.spec = spec
        self.on_output = on_output
        self._on_death = on_death
        self.calls: list[Call] = []
        self.alive = True
        self.dumped = False
        self.frozen = False
        self.killing = False
        self.killed_for: KillReason | None = None
        self.death: SandboxDied | None = None
        self.at_end: list[Callable[[], object]] = []
        self.commands: list[FakeExecution] = []
        # Only web servers have more than one.
        self._waiting: list[asyncio.Future[Reply]] = []

    @property
    def instance_id(self) -> str:
        return self.spec.instance_id

    @property
    def phases(self) -> Mapping[str, float]:
        return {"fork_ms": 1.0}

    async def call(self, call: Call) -> Reply:
        assert not self._waiting or self.spec.web_server is not None, "two calls at a time"
        assert not self.frozen, "a call to a frozen instance"
        if not self.alive:
            raise SandboxDied("exit", "died before")
        self.calls.append(call)
        answer = self._driver.behaviour(self, call)
        if isinstance(answer, SandboxDied):
            self._end(answer)
            raise answer
        if answer is not None:
            return answer
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        finally:
            self._waiting.remove(waiting)

    def answer(self, payload: bytes = b"ok") -> None:
        """Ends the call that hangs, the first of several."""
        self.answer_with(Reply(True, payload))

    def answer_with(self, reply: Reply) -> None:
        self._waiting[0].set_result(reply)

    @property
    def hanging(self) -> bool:
        return any(not waiting.done() for waiting in self._waiting)

    async def exec(self, command: Command) -> "FakeExecution":
        assert not self.frozen, "a command in a frozen instance"
        if not self.alive:
            raise SandboxDied("exit", "died before")
        self.commands.append(FakeExecution(command))
        return self.commands[-1]

    def die(self, reason: str = "exit") -> None:
        """The process ends by itself."""
        self._end(SandboxDied(reason))
        if self.hanging:
            self._fail_waiting(SandboxDied(reason))
        else:
            self._on_death()

    async def kill(self, reason: KillReason) -> None:
        if not self.alive:
            return
        self.killing = True
        self.killed_for = reason
        if reason is KillReason.TIMEOUT:
            self.dumped = True
            self.on_output(b"Dumping stack trace after function timeout\n")
        await self._driver.ends.passed()
        for command in self.commands:
            await command.close()
        self._end(SandboxDied(Death.KILLED, reason.value))
        self._fail_waiting(SandboxDied("killed"))

    def _fail_waiting(self, death: SandboxDied) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(death)

    def memory_peak_mb(self) -> float:
        return 12.5

    async def usage(self) -> Usage | None:
        return Usage(cpu_s=0.5, memory_mb=12.5) if self.alive else None

    def freeze(self) -> None:
        assert self.alive
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False

    def on_end(self, callback: Callable[[], object]) -> None:
        if self.alive:
            self.at_end.append(callback)
        else:
            callback()

    def _end(self, death: SandboxDied) -> None:
        if self.alive:
            self.alive = False
            self.death = death
            for callback in self.at_end:
                callback()
            self._driver.alive.discard(self)


class Gate:
    """Where what takes time is held until the test lets it go on; open unless `closed`."""

    def __init__(self) -> None:
        self.closed = False
        self.held: list[asyncio.Future[None]] = []

    async def passed(self) -> None:
        if self.closed:
            held = asyncio.get_running_loop().create_future()
            self.held.append(held)
            try:
                await held
            finally:
                self.held.remove(held)

    def let_go(self, index: int = 0) -> None:
        """Lets one go on, if one is held."""
        held = [one for one in self.held if not one.done()]
        if held:
            held[index % len(held)].set_result(None)

    def open(self) -> None:
        self.closed = False
        for held in self.held:
            if not held.done():
                held.set_result(None)


class FakeExecution:
    """Gives back what it is told as output; ends when its input does, with `code`, or when it is closed."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.code = 0
        self.sizes: list[tuple[int, int]] = []
        self.closed = False
        self._output: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()
        self.ended = asyncio.Event()

    def say(self, number: int, data: bytes) -> None:
        self._output.put_nowait((number, data))

    async def read(self) -> tuple[int, bytes] | None:
        return await self._output.get()

    async def write(self, data: bytes) -> None:
        self.say(1, data)

    def end_input(self) -> None:
        self.exit(self.code)

    def exit(self, code: int) -> None:
        self.code = code
        self._output.put_nowait(None)
        self.ended.set()

    def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))

    async def wait(self) -> int:
        await self.ended.wait()
        return self.code

    async def close(self) -> None:
        self.closed = True
        if not self.ended.is_set():
            self.exit(137)


class FakeDriver:
    """`alive` holds every sandbox that was made and not ended.

    `refuse` is how many starts shall fail, with `failure`; `attempts` counts the starts that were asked for.
    """

    name = "fake"
    network = "host"
    no_network = ""
    leads_out: frozenset[int] = frozenset()
    only_proxy = ""
    no_buckets = ""

    def descriptors(self, listens: int) -> int:
        return 1

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour: Behaviour = behaviour or (lambda _sandbox, call: Reply(True, b"echo:" + call.payload))
        self.alive: set[FakeSandbox] = set()
        self.made: list[FakeSandbox] = []
        self.refuse = 0
        self.failure = SandboxStartFailed("refused by the test")
        self.attempts = 0
        self.starts = Gate()
        self.ends = Gate()
        self.starting: list[str] = []

    def enforcement(self) -> tuple[Enforcement, ...]:
        return ()

    async def open(self) -> None: ...

    async def create(self, spec: InstanceSpec, on_output: OnOutput, on_death: Callable[[], None]) -> FakeSandbox:
        self.attempts += 1
        self.starting.append(spec.setup["function"]["name"])
        try:
            await asyncio.sleep(0)
            await self.starts.passed()
        finally:
            self.starting.remove(spec.setup["function"]["name"])
        if self.refuse > 0:
            self.refuse -= 1
            raise self.failure
        sandbox = FakeSandbox(self, spec, on_output, on_death)
        self.made.append(sandbox)
        self.alive.add(sandbox)
        return sandbox

    async def close(self) -> None: ...
