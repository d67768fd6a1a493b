"""What keeping logs costs a call: one Sesame that keeps them beside one that keeps none, interleaved.

Run by `make bench-logs`; both are the same program with the same function, and differ in --log-retention-days only.
Never compares figures of different rounds: each ratio is of two neighbours in time, and who goes first alternates.
"""

import time
from collections.abc import Callable

import click
import fc2

from benchmarks import servers
from benchmarks.invoke import EXPECTED, WARM_UP_S, Exchange, Lane
from benchmarks.ratios import over, spread
from benchmarks.servers import Endpoint

CONCURRENCIES = (1, 16)
LINES = (0, 20)
# A line of a hundred bytes for each that is asked for, and the answer that the load expects.
CODE = """
def my_handler(event, context):
    for _ in range(%d):
        print('x' * 99)
    return 'hello world'
"""


@click.command()
@click.option("--rounds", default=31, show_default=True, help="Interleaved rounds for each case.")
@click.option("--seconds", default=1.0, show_default=True, help="Length of one lane in one round.")
@click.option("--sandbox", default="auto", show_default=True, help="Sandbox driver of both.")
@click.option("--runtime", default="python3.10", show_default=True)
@click.option("--limit", default=1.05, show_default=True, help="Most that a call may take with logs kept, as a ratio.")
def main(rounds: int, seconds: float, sandbox: str, runtime: str, limit: float) -> None:
    failed = False
    with (
        servers.sesame("--sandbox", sandbox, "--log-retention-days", "7") as keeping,
        servers.sesame("--sandbox", sandbox, "--log-retention-days", "0") as keeping_none,
    ):
        for lines in LINES:
            name = f"prints-{lines}"
            with servers.package({"main.py": CODE % lines}) as code:
                for endpoint in (keeping, keeping_none):
                    deploy(endpoint.client(), name, runtime, code)
            for concurrency in CONCURRENCIES:
                with_logs = Lane("logs kept", keeping.port, exchange(keeping, name))
                without = Lane("no logs kept", keeping_none.port, exchange(keeping_none, name))
                for number in range(rounds):
                    for lane in (with_logs, without) if number % 2 else (without, with_logs):
                        if not number:
                            lane.measure(concurrency, WARM_UP_S, keep=False)
                        lane.measure(concurrency, seconds)
                        time.sleep(0.3)  # what waits to be written must not fall into the other's time
                click.echo(f"{lines} lines of its own for each call, concurrency {concurrency}:")
                for lane in (with_logs, without):
                    click.echo(lane.line())
                ratios = [a / b for a, b in zip(with_logs.per_second, without.per_second, strict=True)]
                slower = [a / b for a, b in zip(with_logs.median_ms, without.median_ms, strict=True)]
                click.echo(f"  throughput kept / not kept: {spread(ratios)}")
                click.echo(f"  median latency kept / not kept: {spread(slower)}")
                failed |= over(slower, limit)
    if failed:
        raise click.ClickException(f"keeping logs slows calls more than is allowed (median latency, at most {limit} ×)")


def exchange(endpoint: Endpoint, name: str) -> Callable[[], Exchange]:
    return lambda: (endpoint.signed_invocation("bench", name), EXPECTED)


def deploy(client: fc2.Client, name: str, runtime: str, code: str) -> None:
    if name == f"prints-{LINES[0]}":
        client.create_service("bench")
    client.create_function("bench", name, handler="main.my_handler", runtime=runtime, codeZipFile=code)


if __name__ == "__main__":
    main()
