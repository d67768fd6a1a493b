"""What a server does when far more callers come than it has capacity for: goodput, refusals, recovery.

Run by `make bench-overload`; prints each figure beside its promise. Callers are in a process of their own.
Peak is what as many callers as there is capacity reach, in the same run. The function waits for a while, so that
instances are what is short. Whoever is refused waits before it calls again: half a second, more or less by a random
part, as every back-off has that is to spread callers. They come one after the other in the first half second.

Callers in step measure a queue and not the server: of 492 requests in one instant, each has the half of the others
before it in the median, so 5 ms would be 20 µs for a refusal, less than its two system calls and the interpreter's way
between them take. How that goes is shown without a promise, as "all in one instant".

A time is taken where the bytes arrive, not where a task that waits for them is run, and it is shown how late the
callers' own loop was: what they wait for themselves is no delay of the server. The silent connections come from
another address, as one address may hold only a share of the connections: calls from that one are refused beyond it.
"""

import asyncio
import contextlib
import multiprocessing
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from multiprocessing.connection import Connection
from typing import cast

import click
import msgspec
import uvloop

from benchmarks.servers import Endpoint, package, sesame

HOST, SILENT_HOST, SERVICE, NAME = "127.0.0.1", "127.0.0.2", "overload", "waits"
OK, REFUSED = 200, 429
MEMORY_MB = 128
BACKOFF_S = 0.5
# Of the back-off, at random, in both directions.
JITTER = 0.5
SEED = 15
FUNCTION = "import time\ndef my_handler(event, context):\n    time.sleep(0.05)\n    return 'done'\n"
RECOVERED_OF_PEAK = 0.9
RECOVERY_WINDOW_S = 0.25


class Answer(msgspec.Struct, frozen=True):
    """`at_s` is when it was there, since the round began."""

    status: int
    took_ms: float
    at_s: float


class Seen(msgspec.Struct, frozen=True):
    """`late_ms` is by how much the callers' own timers came too late: the share of the times that is theirs."""

    answers: list[Answer]
    late_ms: list[float]


class Promise(msgspec.Struct, frozen=True):
    what: str
    found: str
    promised: str
    held: bool


@click.command()
@click.option("--capacity", default=8, show_default=True, help="Instances at most, by their memory.")
@click.option("--callers", default=500, show_default=True)
@click.option("--silent", default=5000, show_default=True, help="Connections that never send anything.")
@click.option("--seconds", default=10.0, show_default=True, help="Of each round.")
@click.option("--sandbox", default="jail", show_default=True)
@click.option("--runtime", default="python3.12", show_default=True)
def main(*, capacity: int, callers: int, silent: int, seconds: float, sandbox: str, runtime: str) -> None:
    with sesame("--sandbox", sandbox, "--max-memory-mb", str(capacity * MEMORY_MB)) as endpoint:
        deploy(endpoint, runtime)
        rounds = Rounds(endpoint, seconds)
        rounds.run(capacity)
        peak = rounds.run(capacity).answers
        seen = rounds.run(callers, spread_s=BACKOFF_S)
        flood = seen.answers
        after = rounds.run(capacity).answers
        in_step = rounds.run(callers, jitter=0.0).answers
        with_silent = rounds.run(capacity, silent=silent).answers
    click.echo(f"the callers' own loop, late in the median: {statistics.median(seen.late_ms or [0.0]):.2f} ms")
    share, median_ms = goodput(in_step, seconds) / goodput(peak, seconds), refusal_ms(in_step)
    click.echo(f"all in one instant, again and again: goodput {share:.2f} ×, a refusal {median_ms:.1f} ms (no promise)")
    promises = [
        *of_the_flood(goodput(peak, seconds), flood, seconds),
        recovery(goodput(peak, seconds), after),
        beside_silent(goodput(peak, seconds), with_silent, seconds, silent),
    ]
    for promise in promises:
        click.echo(f"{promise.what}: {promise.found} ({promise.promised}) {'held' if promise.held else 'NOT HELD'}")


def deploy(endpoint: Endpoint, runtime: str) -> None:
    client = endpoint.client()
    client.create_service(SERVICE)
    with package({"main.py": FUNCTION}) as code:
        client.create_function(
            SERVICE, NAME, handler="main.my_handler", runtime=runtime, memorySize=MEMORY_MB, codeZipFile=code
        )


def goodput(answers: Sequence[Answer], seconds: float) -> float:
    return sum(answer.status == OK for answer in answers) / seconds


def refusal_ms(answers: Sequence[Answer]) -> float:
    """The median."""
    return statistics.median([answer.took_ms for answer in answers if answer.status == REFUSED] or [0.0])


def of_the_flood(peak: float, answers: Sequence[Answer], seconds: float) -> list[Promise]:
    share = goodput(answers, seconds) / peak
    statuses = Counter(answer.status for answer in answers)
    median_ms = refusal_ms(answers)
    return [
        Promise("goodput beside the peak", f"{share:.2f} × of {peak:.0f}/s", "≥ 0.9 ×", share >= 0.9),
        Promise("statuses", str(dict(statuses)), "200 and 429 alone", set(statuses) <= {OK, REFUSED}),
        Promise("a refusal, median", f"{median_ms:.1f} ms of {statuses[REFUSED]}", "≤ 5 ms", median_ms <= 5),
    ]


def recovery(peak: float, answers: Sequence[Answer]) -> Promise:
    """When a window first had as much as the peak nearly has."""
    windows = Counter(int(answer.at_s / RECOVERY_WINDOW_S) for answer in answers if answer.status == OK)
    enough = RECOVERED_OF_PEAK * peak * RECOVERY_WINDOW_S
    first = next((number for number in sorted(windows) if windows[number] >= enough), None)
    took_s = (first + 1) * RECOVERY_WINDOW_S if first is not None else float("inf")
    return Promise("recovery", f"{took_s:.2f} s", "≤ 2 s", took_s <= 2)


def beside_silent(peak: float, answers: Sequence[Answer], seconds: float, silent: int) -> Promise:
    share = goodput(answers, seconds) / peak
    sound = share >= 0.9 and {answer.status for answer in answers} == {OK}
    return Promise(f"goodput beside {silent} silent connections", f"{share:.2f} ×", "≥ 0.9 ×, none fails", sound)


class Load(msgspec.Struct, frozen=True):
    """`callers` come one after the other within `spread_s`; their back-off differs by up to the share `jitter`."""

    port: int
    request: bytes
    callers: int
    silent: int
    seconds: float
    spread_s: float
    jitter: float


class Rounds:
    """Rounds of calls of the function."""

    def __init__(self, endpoint: Endpoint, seconds: float) -> None:
        self._port = endpoint.port
        self._request = endpoint.signed_invocation(SERVICE, NAME)
        self._seconds = seconds

    def run(self, callers: int, silent: int = 0, *, spread_s: float = 0.0, jitter: float = JITTER) -> Seen:
        """Each caller calls again as soon as it was answered. In another process, whose load is not the server's."""
        ours, theirs = multiprocessing.Pipe()
        load = Load(self._port, self._request, callers, silent, self._seconds, spread_s, jitter)
        process = multiprocessing.get_context("spawn").Process(target=_call, args=(theirs, load))
        process.start()
        theirs.close()
        seen: Seen = ours.recv()
        process.join()
        return seen


def _call(results: Connection, load: Load) -> None:
    results.send(uvloop.run(_all(load)))


async def _all(load: Load) -> Seen:
    loop = asyncio.get_running_loop()
    seen = Seen([], [])
    async with _silent(load.port, load.silent):
        dice = random.Random(SEED)
        callers = []
        for _ in range(load.callers):
            _, caller = await loop.create_connection(lambda: _Caller(load, seen, dice), HOST, load.port)
            callers.append(caller)
        began = time.monotonic()
        for number, caller in enumerate(callers):
            caller.begin(began, load.spread_s * number / load.callers)
        await asyncio.gather(*(caller.done for caller in callers))
    return seen


class _Caller(asyncio.Protocol):
    """Calls on one connection until the round is over."""

    def __init__(self, load: Load, seen: Seen, dice: random.Random) -> None:
        self._load, self._seen, self._dice = load, seen, dice
        self._loop = asyncio.get_running_loop()
        self._answer = b""
        self._began = self._asked = 0.0
        self.done: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def begin(self, began: float, after_s: float) -> None:
        """The round has begun; the first call comes `after_s`."""
        self._began = began
        self._call_after(after_s)

    def _call_after(self, wait_s: float) -> None:
        self._loop.call_later(wait_s, self._call, time.monotonic() + wait_s)

    def _call(self, due: float) -> None:
        self._asked = time.monotonic()
        if due:
            self._seen.late_ms.append((self._asked - due) * 1000)
        if self._asked - self._began >= self._load.seconds:
            self._transport.close()
        else:
            self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self._answer += data
        head, blank, body = self._answer.partition(b"\r\n\r\n")
        if not blank or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]):
            return
        self._answer = b""
        status = int(head.split(b" ", 2)[1])
        self._seen.answers.append(Answer(status, (now - self._asked) * 1000, now - self._began))
        if status != REFUSED:
            self._call(0.0)
            return
        self._call_after(BACKOFF_S * self._dice.uniform(1 - self._load.jitter, 1 + self._load.jitter))

    def connection_lost(self, exc: Exception | None) -> None:
        if time.monotonic() - self._began >= self._load.seconds:
            self.done.set_result(None)
        else:
            self.done.set_exception(exc or ConnectionError("the server closed the connection of a caller"))


@contextlib.asynccontextmanager
async def _silent(port: int, count: int) -> AsyncIterator[None]:
    held = []
    try:
        for _ in range(count):
            held.append(await asyncio.open_connection(HOST, port, local_addr=(SILENT_HOST, 0)))
        yield
    finally:
        for _reader, writer in held:
            writer.close()


if __name__ == "__main__":
    main()
