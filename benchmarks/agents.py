"""Warm calls: several agents beside one, interleaved, as ratios.

Run by `make bench-agents`. Says how many processors it had, which the client takes a part of.
"""

import contextlib
import os
from collections.abc import Iterator

import click

from benchmarks import servers
from benchmarks.invoke import CODE, EXPECTED, Lane, race, report

CONCURRENCIES = (1, 16, 64)


@click.command()
@click.option("--agents", default=2, show_default=True, help="How many there are in the lane that is measured.")
@click.option("--rounds", default=7, show_default=True, help="Interleaved rounds for each concurrency.")
@click.option("--seconds", default=3.0, show_default=True, help="Length of one lane in one round.")
@click.option("--sandbox", default="auto", show_default=True, help="Sandbox driver of both.")
@click.option("--runtime", default="python3.10", show_default=True)
@click.option("--distinct", is_flag=True, help="No two requests have the same head; else all of a round do.")
def main(agents: int, rounds: int, seconds: float, sandbox: str, runtime: str, distinct: bool) -> None:
    click.echo(f"{len(os.sched_getaffinity(0))} processors, for the server, the functions and the client.")
    with lane(agents, sandbox, runtime) as many, lane(1, sandbox, runtime) as one:
        for concurrency in CONCURRENCIES:
            race([many, one], concurrency, rounds, seconds, distinct=distinct)
            report(many, [one], concurrency)


@contextlib.contextmanager
def lane(agents: int, sandbox: str, runtime: str) -> Iterator[Lane]:
    """A Sesame of so many agents with one function."""
    flags = ("--sandbox", sandbox, "--calls", "none", "--agents", str(agents))
    with servers.sesame(*flags) as endpoint, servers.package(CODE) as code:
        client = endpoint.client()
        client.create_service("bench")
        client.create_function("bench", "hello", handler="main.my_handler", runtime=runtime, codeZipFile=code)
        name = "one agent" if agents == 1 else f"{agents} agents"
        yield Lane(name, endpoint.port, lambda: (endpoint.signed_invocation("bench", "hello"), EXPECTED))


if __name__ == "__main__":
    main()
