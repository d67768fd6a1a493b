"""Warm calls: Sesame beside functions-framework-python, or another checkout of itself, interleaved, as ratios.

Run by `make bench-invoke`; every Sesame request is signed, its logs are kept, and its sandbox is the one named.
Never compares figures of different rounds: each ratio is of two neighbours in time.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import uvloop

from benchmarks import load, servers
from benchmarks.ratios import spread

CONCURRENCIES = (1, 16)
WARM_UP_S = 1.0
# The host is left to settle between two lanes.
PAUSE_S = 0.1
EXPECTED = b"hello world"
CODE = {"main.py": servers.HELLO}

# The bytes of a request, and the body that answers it.
Exchange = tuple[bytes, bytes]


class Lane:
    """One of the servers in the race, and what was measured of it. `exchange` gives a request and its answer's body."""

    def __init__(self, name: str, port: int, exchange: Callable[[], Exchange]) -> None:
        self.name = name
        self._port = port
        self._exchange = exchange
        self.per_second: list[float] = []
        self.median_ms: list[float] = []
        self.p99_ms: list[float] = []

    def measure(self, concurrency: int, seconds: float, *, distinct: bool = False, keep: bool = True) -> None:
        request, expected = self._exchange()
        answers = uvloop.run(
            load.run(
                self._port,
                request,
                concurrency=concurrency,
                seconds=seconds,
                expect=expected,
                distinct=distinct,
            )
        )
        if keep:
            self.per_second.append(answers.per_second)
            self.median_ms.append(answers.percentile_ms(0.5))
            self.p99_ms.append(answers.percentile_ms(0.99))

    def reset(self) -> None:
        self.per_second, self.median_ms, self.p99_ms = [], [], []

    def line(self) -> str:
        return (
            f"  {self.name:<34} {statistics.median(self.per_second):>8.0f} calls/s"
            f"   p50 {statistics.median(self.median_ms):6.2f} ms   p99 {statistics.median(self.p99_ms):6.2f} ms"
        )


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Interleaved rounds for each concurrency.")
@click.option("--seconds", default=3.0, show_default=True, help="Length of one lane in one round.")
@click.option("--sandbox", default="auto", show_default=True, help="Sandbox driver of the Sesame under test.")
@click.option("--runtime", default="python3.10", show_default=True)
@click.option("--distinct", is_flag=True, help="No two requests have the same head; else all of a round do.")
@click.option("--checkout", type=click.Path(path_type=Path), help="Race another checkout of Sesame, not the peers.")
def main(rounds: int, seconds: float, sandbox: str, runtime: str, distinct: bool, checkout: Path | None) -> None:
    with (
        sesame_lane(f"sesame ({sandbox}, {runtime})", sandbox, runtime, None) as ours,
        contextlib.ExitStack() as stack,
    ):
        if checkout is not None:
            others = [stack.enter_context(sesame_lane("the other checkout", sandbox, runtime, checkout))]
        else:
            others = [
                framework_lane(f"functions-framework ({said})", stack.enter_context(servers.functions_framework(count)))
                for said, count in (("default", None), ("2 workers", 2))
            ]
        for concurrency in CONCURRENCIES:
            race([ours, *others], concurrency, rounds, seconds, distinct=distinct)
            report(ours, others, concurrency)


@contextlib.contextmanager
def sesame_lane(name: str, sandbox: str, runtime: str, checkout: Path | None) -> Iterator[Lane]:
    """A Sesame of its own with one function."""
    with servers.sesame("--sandbox", sandbox, checkout=checkout) as endpoint, servers.package(CODE) as code:
        client = endpoint.client()
        client.create_service("bench")
        client.create_function("bench", "hello", handler="main.my_handler", runtime=runtime, codeZipFile=code)
        yield Lane(name, endpoint.port, lambda: (endpoint.signed_invocation("bench", "hello"), EXPECTED))


def framework_lane(name: str, port: int) -> Lane:
    headers = {"Host": "127.0.0.1", "Content-Type": "application/octet-stream"}
    return Lane(name, port, lambda: (load.http_request("POST", "/", headers), EXPECTED))


def race(lanes: list[Lane], concurrency: int, rounds: int, seconds: float, *, distinct: bool) -> None:
    """Measures every lane once in each round, one after the other."""
    for lane in lanes:
        lane.reset()
    for number in range(rounds):
        for lane in lanes:
            if number == 0:
                lane.measure(concurrency, WARM_UP_S, distinct=distinct, keep=False)
            lane.measure(concurrency, seconds, distinct=distinct)
            time.sleep(PAUSE_S)


def report(ours: Lane, others: list[Lane], concurrency: int) -> None:
    click.echo(f"concurrency {concurrency}:")
    for lane in (ours, *others):
        click.echo(lane.line())
    for other in others:
        through = [a / b for a, b in zip(ours.per_second, other.per_second, strict=True)]
        latency = [a / b for a, b in zip(ours.median_ms, other.median_ms, strict=True)]
        click.echo(f"  throughput / {other.name}: {spread(through)}")
        click.echo(f"  median latency / {other.name}: {spread(latency)}")


if __name__ == "__main__":
    main()
