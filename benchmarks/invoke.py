"""Warm calls: Sesame beside functions-framework-python, interleaved, as ratios with their spread.

Run by `make bench-invoke`; every Sesame request is signed, its logs are kept, and its sandbox is the one named.
Never compares figures of different rounds: each ratio is of two neighbours in time.
"""

import statistics
import time

import click
import uvloop

from benchmarks import load, servers
from benchmarks.ratios import spread

CONCURRENCIES = (1, 16)
WARM_UP_S = 1.0


class Lane:
    """One of the servers in the race: its port, its request, and what it measured so far."""

    def __init__(self, name: str, port: int, request: bytes, expect: bytes = b"hello world") -> None:
        self.name = name
        self.port = port
        self.request = request
        self.expect = expect
        self.per_second: list[float] = []
        self.median_ms: list[float] = []
        self.p99_ms: list[float] = []

    def measure(self, concurrency: int, seconds: float, *, distinct: bool = False, keep: bool = True) -> None:
        answers = uvloop.run(
            load.run(
                self.port,
                self.request,
                concurrency=concurrency,
                seconds=seconds,
                expect=self.expect,
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
def main(rounds: int, seconds: float, sandbox: str, runtime: str, distinct: bool) -> None:
    with (
        servers.sesame("--sandbox", sandbox) as endpoint,
        servers.functions_framework(None) as default_port,
        servers.functions_framework(2) as tuned_port,
        servers.package({"main.py": servers.HELLO}) as code,
    ):
        client = endpoint.client()
        client.create_service("bench")
        client.create_function("bench", "hello", handler="main.my_handler", runtime=runtime, codeZipFile=code)
        peer_headers = {"Host": "127.0.0.1", "Content-Type": "application/octet-stream"}
        plain_post = load.http_request("POST", "/", peer_headers)
        ours = Lane(f"sesame ({sandbox}, {runtime})", endpoint.port, b"")
        peer = Lane("functions-framework (default)", default_port, plain_post)
        tuned = Lane("functions-framework (2 workers)", tuned_port, plain_post)
        for concurrency in CONCURRENCIES:
            lanes = (ours, peer, tuned)
            for lane in lanes:
                lane.reset()
            for _ in range(rounds):
                ours.request = endpoint.signed_invocation("bench", "hello")
                for lane in lanes:
                    if not lane.per_second:
                        lane.measure(concurrency, WARM_UP_S, distinct=distinct, keep=False)
                    lane.measure(concurrency, seconds, distinct=distinct)
                    time.sleep(0.1)
            click.echo(f"concurrency {concurrency}:")
            for lane in lanes:
                click.echo(lane.line())
            for other in (peer, tuned):
                through = [a / b for a, b in zip(ours.per_second, other.per_second, strict=True)]
                latency = [a / b for a, b in zip(ours.median_ms, other.median_ms, strict=True)]
                click.echo(f"  throughput / {other.name}: {spread(through)}")
                click.echo(f"  median latency / {other.name}: {spread(latency)}")


if __name__ == "__main__":
    main()
