"""What callers notice while Sesame restarts over and over: calls at a fixed rate, on new connections and on kept ones.

Run by `make bench-restart`; prints the share of calls that failed and the longest wait, beside their promises. Callers
are in a process of their own, come at their times whether or not those before were answered, and never try again.
"""

import asyncio
import contextlib
import itertools
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import click
import msgspec
import psutil
import uvloop

from benchmarks.load import Answer, KeptConnections, whole_answer
from benchmarks.servers import HELLO, Endpoint, package, sesame

HOST, SERVICE, NAME = "127.0.0.1", "restart", "hello"
# Of a call, and of one that was accepted to be made later.
OK, ACCEPTED = 200, 202
FAILED_MAX = 0.0002
PATIENCE_S = 180.0
SAID_MAX = 200
# Every so many calls one has a connection of its own, which it closes; the others keep theirs.
NEW_EVERY = 2


class Load(msgspec.Struct, frozen=True):
    """`requests` are sent in turn, `rate` of them a second, of each every so many on a connection of its own."""

    port: int
    requests: tuple[bytes, ...]
    rate: float
    new_every: int = NEW_EVERY


class Seen(msgspec.Struct):
    """`failed` counts calls by what went wrong; the others have those that were answered well.

    `answered_at` is by the machine's monotonic clock. `accepted` of them are to be made later.
    """

    waits_s: list[float] = []
    answered_at: list[float] = []
    accepted: int = 0
    failed: Counter[str] = msgspec.field(default_factory=Counter)

    @property
    def share(self) -> float:
        failed = self.failed.total()
        return failed / max(1, failed + len(self.waits_s))


@click.command()
@click.option("--restarts", default=20, show_default=True)
@click.option("--rate", default=100.0, show_default=True, help="Calls a second.")
@click.option("--pause", default=2.0, show_default=True, help="Seconds between two restarts.")
@click.option("--sandbox", default="jail", show_default=True)
@click.option("--runtime", default="python3.12", show_default=True)
def main(*, restarts: int, rate: float, pause: float, sandbox: str, runtime: str) -> None:
    with sesame("--sandbox", sandbox) as endpoint:
        deploy(endpoint, runtime)
        data_dir = Path(psutil.Process(endpoint.pid).cwd()) / "data"
        load = Load(endpoint.port, (endpoint.signed_invocation(SERVICE, NAME),), rate)
        with calling(load) as callers:
            took_s = [restarted(data_dir, pause) for _ in range(restarts)]
            time.sleep(pause)
            seen = callers.stop()
    calls = len(seen.waits_s) + seen.failed.total()
    held = "held" if seen.share <= FAILED_MAX else "NOT HELD"
    click.echo(f"{restarts} restarts, {statistics.median(took_s):.1f} s in the median, {max(took_s):.1f} s at most")
    failed = ", ".join(f"{count} {what}" for what, count in seen.failed.items()) or "none"
    click.echo(f"{calls} calls at {rate:g}/s, failed: {failed}: {seen.share:.4%} (≤ {FAILED_MAX:.2%}) {held}")
    ordered = sorted(seen.waits_s)
    click.echo(f"waits: {ordered[len(ordered) // 2] * 1000:.1f} ms in the median, {ordered[-1]:.2f} s at most")


def deploy(endpoint: Endpoint, runtime: str) -> None:
    client = endpoint.client()
    client.create_service(SERVICE)
    with package({"main.py": HELLO}) as code:
        client.create_function(
            SERVICE, NAME, handler="main.my_handler", runtime=runtime, memorySize=128, codeZipFile=code
        )


def restarted(data_dir: Path, pause_s: float) -> float:
    """How long one restart took, after a pause."""
    time.sleep(pause_s)
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "sesame", "restart", "--data-dir", str(data_dir)], check=True)
    return time.monotonic() - began


class Callers:
    """They call until `stop`."""

    def __init__(self, load: Load) -> None:
        self._ours, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=_call, args=(theirs, load))
        self._process.start()
        theirs.close()
        # They have connected, and the first of them was answered.
        self._ours.recv()

    def stop(self) -> Seen:
        self._ours.send(None)
        seen: Seen = self._ours.recv()
        self._process.join()
        return seen

    def end(self) -> None:
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


@contextlib.contextmanager
def calling(load: Load) -> Iterator[Callers]:
    callers = Callers(load)
    try:
        yield callers
    finally:
        callers.end()


def _call(told: Connection, load: Load) -> None:
    seen = uvloop.run(_Calls(load).run(told))
    # The loop has read it without blocking, and what was seen may be more than a pipe holds.
    os.set_blocking(told.fileno(), True)
    told.send(seen)


class _Calls:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._seen = Seen()
        self._kept = KeptConnections(HOST, load.port)

    async def run(self, told: Connection) -> Seen:
        requests = itertools.cycle(self._load.requests)
        await self._one(next(requests), keep=self._is_kept(len(self._load.requests)))
        told.send(None)
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_reader(told.fileno(), stopped.set)
        began, calls = time.monotonic(), set()
        for number in itertools.count():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, began + number / self._load.rate - time.monotonic())):
                    await stopped.wait()
            if stopped.is_set():
                break
            call = asyncio.create_task(self._one(next(requests), keep=self._is_kept(number)))
            calls.add(call)
            call.add_done_callback(calls.discard)
        asyncio.get_running_loop().remove_reader(told.fileno())
        if calls:
            await asyncio.wait(calls)
        self._kept.close()
        return self._seen

    def _is_kept(self, number: int) -> bool:
        """Of each request in the same share."""
        return (number // len(self._load.requests)) % self._load.new_every != 0

    async def _one(self, request: bytes, *, keep: bool) -> None:
        asked = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await self._ask(request, keep=keep)
        except (OSError, EOFError, TimeoutError) as error:
            self._seen.failed[f"{type(error).__name__} {error}"[:SAID_MAX]] += 1
            return
        if answer.status in (OK, ACCEPTED):
            now = time.monotonic()
            self._seen.waits_s.append(now - asked)
            self._seen.answered_at.append(now)
            self._seen.accepted += answer.status == ACCEPTED
        else:
            self._seen.failed[f"{answer.status} {answer.body.decode(errors='replace')}"[:SAID_MAX]] += 1

    async def _ask(self, request: bytes, *, keep: bool) -> Answer:
        reader, writer = await (self._kept.take() if keep else asyncio.open_connection(HOST, self._load.port))
        goes_on = False
        try:
            writer.write(request)
            answer = await whole_answer(reader)
            goes_on = answer.goes_on
        finally:
            if keep and goes_on:
                self._kept.give_back(reader, writer)
            else:
                writer.close()
        return answer


if __name__ == "__main__":
    main()
