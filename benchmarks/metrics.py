"""What counting costs a call: processor time of a Sesame with metrics beside one without, interleaved.

Run by `make bench-metrics`; both are the same program with the same function, and differ in --metrics-port only. Only
the server's own process is counted, so that a busy machine disturbs little.
"""

import statistics

import click
import psutil
import uvloop

from benchmarks import load, servers
from benchmarks.invoke import EXPECTED, WARM_UP_S
from benchmarks.ratios import over, spread
from benchmarks.servers import Endpoint


@click.command()
@click.option("--rounds", default=31, show_default=True, help="Interleaved rounds.")
@click.option("--seconds", default=1.0, show_default=True, help="Length of one lane in one round.")
@click.option("--concurrency", default=1, show_default=True)
@click.option("--sandbox", default="auto", show_default=True, help="Sandbox driver of both.")
@click.option("--runtime", default="python3.10", show_default=True)
@click.option("--limit", default=1.02, show_default=True, help="Most that a call may take with metrics, as a ratio.")
def main(rounds: int, seconds: float, concurrency: int, sandbox: str, runtime: str, limit: float) -> None:
    flags = ("--sandbox", sandbox, "--calls", "none")
    with servers.sesame(*flags, "--metrics-port", "0") as counting, servers.sesame(*flags) as without:
        with servers.package({"main.py": servers.HELLO}) as code:
            for endpoint in (counting, without):
                client = endpoint.client()
                client.create_service("bench")
                client.create_function("bench", "hello", handler="main.my_handler", runtime=runtime, codeZipFile=code)
                spent_us(endpoint, concurrency, WARM_UP_S)
        found: dict[int, list[float]] = {counting.port: [], without.port: []}
        for number in range(rounds):
            for endpoint in (counting, without) if number % 2 else (without, counting):
                found[endpoint.port].append(spent_us(endpoint, concurrency, seconds))
    for name, endpoint in (("metrics", counting), ("no metrics", without)):
        click.echo(
            f"  {name:<12} {statistics.median(found[endpoint.port]):6.1f} µs of the server's processor time a call"
        )
    ratios = [a / b for a, b in zip(found[counting.port], found[without.port], strict=True)]
    click.echo(f"  processor time with / without: {spread(ratios)}")
    if over(ratios, limit):
        raise click.ClickException(f"metrics cost calls more than is allowed (processor time, at most {limit} ×)")


def spent_us(endpoint: Endpoint, concurrency: int, seconds: float) -> float:
    """Microseconds of the server's processor time for each call of a run."""
    server = psutil.Process(endpoint.pid)
    before = server.cpu_times()
    request = endpoint.signed_invocation("bench", "hello")
    running = load.run(endpoint.port, request, concurrency=concurrency, seconds=seconds, expect=EXPECTED)
    calls = len(uvloop.run(running).latencies_s)
    after = server.cpu_times()
    return (after.user - before.user + after.system - before.system) / calls * 1e6


if __name__ == "__main__":
    main()
