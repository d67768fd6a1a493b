"""Hello world of an ASGI application: through a custom runtime, beside the same uvicorn that is called directly.

Run by `make bench-custom`. Both run the same program with the same packages; lanes are interleaved. Beside the ratio
of requests a second it prints the processor time of Sesame's own process for each request.
"""

import contextlib
import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import psutil
import uvloop
from tests.support.web_apps import with_uvicorn

from benchmarks import load, servers
from benchmarks.ratios import spread, under

EXPECTED = b"hello world"
WARM_UP_S = 2.0
# An instance's share of the processors goes by its memory: with this one it weighs as much as the other uvicorn.
MEMORY_MB = 1024
SESAME, CHECKOUT = "sesame", "the other checkout"
APPLICATION = """\
import os

import uvicorn


async def app(scope, receive, send):
    headers = [(b"content-length", b"11"), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello world"})


uvicorn.run(app, host="0.0.0.0", port=int(os.environ["FC_SERVER_PORT"]), log_level="error", access_log=False)
"""


@click.command()
@click.option("--rounds", default=15, show_default=True, help="Interleaved rounds.")
@click.option("--seconds", default=2.0, show_default=True, help="Length of one lane in one round.")
@click.option("--concurrency", default=16, show_default=True, help="Connections, and calls at a time in the instance.")
@click.option("--limit", default=0.6, show_default=True, help="Least calls a second, as a ratio to uvicorn's.")
@click.option("--checkout", type=click.Path(path_type=Path), help="Another checkout of Sesame to call beside this one.")
def main(rounds: int, seconds: float, concurrency: int, limit: float, checkout: Path | None) -> None:
    with contextlib.ExitStack() as until_done:
        folder = Path(until_done.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        source = folder / "source"
        source.mkdir()
        (source / "app.py").write_text(APPLICATION)
        (source / "bootstrap").write_text("#!/bin/sh\nexec python3 app.py\n")
        (source / "bootstrap").chmod(0o755)
        code = with_uvicorn(source, folder / "code")
        direct = until_done.enter_context(uvicorn_alone(code))
        lanes = {"direct": (direct, b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")}
        servers_of: dict[str, psutil.Process] = {}
        for name, where in {SESAME: None, **({} if checkout is None else {CHECKOUT: checkout})}.items():
            endpoint = until_done.enter_context(servers.sesame("--calls", "none", checkout=where))
            deploy(endpoint, code, concurrency)
            lanes[name] = endpoint.port, b"GET /2016-08-15/proxy/bench/hello/ HTTP/1.1\r\nHost: bench\r\n\r\n"
            servers_of[name] = psutil.Process(endpoint.pid)
        found: dict[str, list[float]] = {name: [] for name in lanes}
        spent: dict[str, list[float]] = {name: [] for name in servers_of}
        for port, request in lanes.values():
            calls_a_second(port, request, concurrency, WARM_UP_S)
        for number in range(rounds):
            for name in lanes if number % 2 else reversed(lanes):
                server = servers_of.get(name)
                before_s = processor_s(server)
                found[name].append(calls_a_second(*lanes[name], concurrency, seconds))
                if server is not None:
                    used_s = processor_s(server) - before_s
                    spent[name].append(used_s / (found[name][-1] * seconds) * 1e6)
    for name, rates in found.items():
        click.echo(f"  {name:<18} {statistics.median(rates):8.0f} requests a second")
    for name, used in spent.items():
        click.echo(f"  {name:<18} {statistics.median(used):8.0f} µs of Sesame's own processor time a request")
    ratios = {name: [a / b for a, b in zip(found[name], found["direct"], strict=True)] for name in servers_of}
    for name, each in ratios.items():
        click.echo(f"  through {name} / direct: {spread(each)}")
    if under(ratios[SESAME], limit):
        raise click.ClickException(f"a custom runtime is slower than is allowed (at least {limit} × uvicorn alone)")


def processor_s(process: psutil.Process | None) -> float:
    """Of the process itself, without its children; 0 where there is none to watch."""
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


def deploy(endpoint: servers.Endpoint, code: Path, concurrency: int) -> None:
    client = endpoint.client()
    client.create_service("bench")
    client.create_function(
        "bench", "hello", handler="app.app", runtime="custom", codeDir=str(code), memorySize=MEMORY_MB,
        instanceConcurrency=max(concurrency, 2),
    )  # fmt: skip
    config = {"authType": "anonymous", "methods": ["GET"]}
    client.create_trigger("bench", "hello", "http", "http", config, "", "")


@contextlib.contextmanager
def uvicorn_alone(code: Path) -> Iterator[int]:
    port = servers.free_port()
    environment = {"FC_SERVER_PORT": str(port), "PATH": os.environ["PATH"]}
    with servers.process(["python3", "app.py"], code, environment):
        servers.wait_for(lambda: servers.accepts(port), "uvicorn")
        yield port


def calls_a_second(port: int, request: bytes, concurrency: int, seconds: float) -> float:
    return uvloop.run(load.run(port, request, concurrency=concurrency, seconds=seconds, expect=EXPECTED)).per_second


if __name__ == "__main__":
    main()
