"""Cold calls: the first call of functions that were never called, beside the start of the bare interpreter, the same
call without networks of functions' own and, where another checkout of Sesame is named, that one's.

Run by `make bench-cold`; through HTTP, signed, logged, in the sandbox that is named, nothing prepared for a function.
Interleaved: each first call has a bare start as its neighbour in time. Never calls a function twice.
"""

import contextlib
import statistics
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import msgspec

from benchmarks.boxes import Command, boxes
from benchmarks.ratios import spread
from benchmarks.servers import Endpoint, package, sesame
from sesame.sandbox.runtimes.interpreters import Interpreter, discover

BLOCKS = 6
BOXED_RUNTIME = "python3.12"
AT_ONCE = 100
WITHOUT_NETWORK, CHECKOUT = "the same on the host's network", "the other checkout"
BARE_STARTS_AT_ONCE = 2


class Case(msgspec.Struct, frozen=True):
    """How many functions are called, and a folder for the files of the boxes beside which 3.12 runs."""

    functions: int
    folder: Path


def deploy(endpoint: Endpoint, service: str, runtime: str, count: int) -> list[str]:
    """`count` functions of different code; their names."""
    client = endpoint.client()
    client.create_service(service)
    names = [f"f{number:04d}" for number in range(count)]

    def create(name: str) -> None:
        source = f"# {service} {name}\ndef my_handler(event, context):\n    return 'hello world'\n"
        with package({"main.py": source}) as code:
            client.create_function(
                service, name, handler="main.my_handler", runtime=runtime, memorySize=128, codeZipFile=code
            )

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(create, names))
    return names


class Caller:
    """One keep-alive connection with prepared signatures."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._connection = HTTPConnection("127.0.0.1", endpoint.port, timeout=60)
        self._connection.connect()

    def first_call_ms(self, service: str, name: str) -> tuple[float, dict[str, str]]:
        """Milliseconds until the whole answer is there, and its headers."""
        head, _, body = self._endpoint.signed_invocation(service, name).partition(b"\r\n\r\n")
        request_line, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        began = time.perf_counter()
        self._connection.request("POST", request_line.split(" ")[1], body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        took_ms = (time.perf_counter() - began) * 1000
        if answer.status != 200 or content != b"hello world":
            raise RuntimeError(f"{name} answered {answer.status} {content[:200]!r}")
        if answer.headers.get("X-Sesame-Cold-Start") != "true":
            raise RuntimeError(f"{name} was warm")
        return took_ms, dict(answer.headers)


def bare_start_ms(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def in_blocks(ours: list[float], theirs: list[float]) -> list[float]:
    """One ratio of medians for each stretch of the run."""
    size = max(1, len(ours) // BLOCKS)
    return [
        statistics.median(ours[at : at + size]) / statistics.median(theirs[at : at + size])
        for at in range(0, size * min(BLOCKS, len(ours)), size)
    ]


def report_one_by_one(endpoint: Endpoint, rivals: Mapping[str, Endpoint], interpreter: Interpreter, case: Case) -> None:
    runtime, python = interpreter.runtime, interpreter.path
    service = "cold-" + runtime.replace(".", "-")
    names = deploy(endpoint, service, runtime, case.functions)
    caller = Caller(endpoint)
    bare_start = [str(python), "-c", "pass"]
    peers: dict[str, Command] = {f"{python.name} -c pass": lambda: bare_start}
    if runtime == BOXED_RUNTIME and CHECKOUT not in rivals:
        peers |= boxes(interpreter, case.folder)
    for rival in rivals.values():
        deploy(rival, service, runtime, case.functions)
    rival_callers = {peer: Caller(rival) for peer, rival in rivals.items()}
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in peers}
    phases: dict[str, list[float]] = {}
    for name in names:
        took_ms, headers = caller.first_call_ms(service, name)
        ours.append(took_ms)
        for phase, value_ms in phases_of(headers).items():
            phases.setdefault(phase, []).append(value_ms)
        for peer, rival_caller in rival_callers.items():
            theirs.setdefault(peer, []).append(rival_caller.first_call_ms(service, name)[0])
        for peer, command in peers.items():
            theirs[peer].append(bare_start_ms(command()))
    p99 = sorted(ours)[int(0.99 * len(ours))]
    bare = theirs[next(iter(peers))]
    told = ", ".join(f"{phase} {statistics.median(values):.1f}" for phase, values in phases.items())
    click.echo(
        f"{runtime}: first call median {statistics.median(ours):.1f} ms ({told}), p99 {p99:.1f} ms, n={len(ours)}"
    )
    for peer, values in theirs.items():
        click.echo(
            f"  {peer}: median {statistics.median(values):.1f} ms; first call / this: {spread(in_blocks(ours, values))}"
        )
    click.echo(f"  p99 of first calls / median of the bare interpreter: {p99 / statistics.median(bare):.2f} ×")


def phases_of(headers: dict[str, str]) -> dict[str, float]:
    """What the answer says of the server's time, in milliseconds, by the phase's name."""
    found: dict[str, float] = {}
    for name, value in headers.items():
        phase = name.lower().removeprefix("x-sesame-").removesuffix("-ms")
        if name.lower() == f"x-sesame-{phase}-ms":
            found[phase] = float(value)
    for step in filter(None, headers.get("X-Sesame-Start-Steps", "").split(", ")):
        step_name, _, value = step.partition("=")
        found[step_name.removesuffix("_ms")] = float(value)
    return found


def report_at_once(endpoint: Endpoint, runtime: str, interpreter: Path, rounds: int) -> None:
    ratios, seconds = [], []
    for number in range(rounds):
        service = f"burst-{number}"
        names = deploy(endpoint, service, runtime, AT_ONCE)
        callers = [Caller(endpoint) for _ in names]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            began = time.perf_counter()
            list(threads.map(Caller.first_call_ms, callers, [service] * AT_ONCE, names))
            ours_s = time.perf_counter() - began
        with ThreadPoolExecutor(BARE_STARTS_AT_ONCE) as threads:
            began = time.perf_counter()
            list(threads.map(lambda _: bare_start_ms([str(interpreter), "-c", "pass"]), range(AT_ONCE)))
            bare_s = time.perf_counter() - began
        ratios.append(ours_s / bare_s)
        seconds.append(ours_s)
    click.echo(
        f"{runtime}: {AT_ONCE} first calls at once, none failed, all answered in {statistics.median(seconds):.2f} s; "
        f"/ {AT_ONCE} bare starts, {BARE_STARTS_AT_ONCE} at a time: {spread(ratios)}"
    )


@click.command()
@click.option("--functions", default=300, show_default=True, help="First calls for each runtime.")
@click.option("--rounds", default=3, show_default=True, help=f"Rounds of {AT_ONCE} first calls at once.")
@click.option("--sandbox", default="jail", show_default=True)
@click.option("--runtime", "runtimes", multiple=True, default=("python2.7", "python3", "python3.12"), show_default=True)
@click.option("--checkout", type=click.Path(path_type=Path), help="Another checkout of Sesame to call beside this one.")
def main(functions: int, rounds: int, sandbox: str, runtimes: tuple[str, ...], checkout: Path | None) -> None:
    interpreters = discover()
    for runtime in runtimes:
        with contextlib.ExitStack() as stack:
            endpoint = stack.enter_context(sesame("--sandbox", sandbox))
            rivals = {WITHOUT_NETWORK: stack.enter_context(sesame("--sandbox", sandbox, "--network", "host"))}
            if checkout:
                rivals[CHECKOUT] = stack.enter_context(sesame("--sandbox", sandbox, checkout=checkout))
            folder = stack.enter_context(TemporaryDirectory(prefix="boxes-"))
            report_one_by_one(endpoint, rivals, interpreters[runtime], Case(functions, Path(folder)))
    with sesame("--sandbox", sandbox) as endpoint:
        report_at_once(endpoint, runtimes[-1], interpreters[runtimes[-1]].path, rounds)


if __name__ == "__main__":
    main()
