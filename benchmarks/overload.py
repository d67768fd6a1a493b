"""What a server does when far more callers come than it has capacity for: goodput, refusals, recovery.

Run by `make bench-overload`; prints each figure beside its promise. Callers are in a process of their own.
Peak is what as many callers as there is capacity reach, in the same run. The function waits for a while, so that
instances are what is short. Whoever is refused waits before it calls again, as official clients do.
"""

import asyncio
import contextlib
import multiprocessing
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from multiprocessing.connection import Connection

import click
import msgspec

from benchmarks.load import answered
from benchmarks.servers import Endpoint, package, sesame

HOST, SERVICE, NAME = "127.0.0.1", "overload", "waits"
OK, REFUSED = 200, 429
MEMORY_MB = 128
BACKOFF_S = 0.5
FUNCTION = "import time\ndef my_handler(event, context):\n    time.sleep(0.05)\n    return 'done'\n"
RECOVERED_OF_PEAK = 0.9
RECOVERY_WINDOW_S = 0.25


class Answer(msgspec.Struct, frozen=True):
    """`at_s` is when it was there, since the round began."""

    status: int
    took_ms: float
    at_s: float


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
        peak = rounds.run(capacity)
        flood = rounds.run(callers)
        after = rounds.run(capacity)
        with_silent = rounds.run(capacity, silent=silent)
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


def of_the_flood(peak: float, answers: Sequence[Answer], seconds: float) -> list[Promise]:
    share = goodput(answers, seconds) / peak
    statuses = Counter(answer.status for answer in answers)
    refusals = [answer.took_ms for answer in answers if answer.status == REFUSED]
    median_ms = statistics.median(refusals) if refusals else 0.0
    return [
        Promise("goodput beside the peak", f"{share:.2f} × of {peak:.0f}/s", "≥ 0.9 ×", share >= 0.9),
        Promise("statuses", str(dict(statuses)), "200 and 429 alone", set(statuses) <= {OK, REFUSED}),
        Promise("a refusal, median", f"{median_ms:.1f} ms of {len(refusals)}", "≤ 5 ms", median_ms <= 5),
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
    port: int
    request: bytes
    callers: int
    silent: int
    seconds: float


class Rounds:
    """Rounds of calls of the function."""

    def __init__(self, endpoint: Endpoint, seconds: float) -> None:
        self._port = endpoint.port
        self._request = endpoint.signed_invocation(SERVICE, NAME)
        self._seconds = seconds

    def run(self, callers: int, silent: int = 0) -> list[Answer]:
        """Each caller calls again as soon as it was answered. In another process, whose load is not the server's."""
        ours, theirs = multiprocessing.Pipe()
        load = Load(self._port, self._request, callers, silent, self._seconds)
        process = multiprocessing.get_context("spawn").Process(target=_call, args=(theirs, load))
        process.start()
        theirs.close()
        answers: list[Answer] = ours.recv()
        process.join()
        return answers


def _call(results: Connection, load: Load) -> None:
    results.send(asyncio.run(_all(load)))


async def _all(load: Load) -> list[Answer]:
    answers: list[Answer] = []
    async with _silent(load.port, load.silent):
        began = time.monotonic()

        async def caller() -> None:
            reader, writer = await asyncio.open_connection(HOST, load.port)
            while (asked := time.monotonic()) - began < load.seconds:
                writer.write(load.request)
                status = await answered(reader)
                now = time.monotonic()
                answers.append(Answer(status, (now - asked) * 1000, now - began))
                if status == REFUSED:
                    await asyncio.sleep(BACKOFF_S)
            writer.close()

        await asyncio.gather(*(caller() for _ in range(load.callers)))
    return answers


@contextlib.asynccontextmanager
async def _silent(port: int, count: int) -> AsyncIterator[None]:
    held = []
    try:
        for _ in range(count):
            held.append(await asyncio.open_connection(HOST, port))
        yield
    finally:
        for _reader, writer in held:
            writer.close()


if __name__ == "__main__":
    main()
