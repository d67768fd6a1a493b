"""What a Sesame for tests costs: its start beside `sesame start`, the wait of a test session, and the emptying.

Run by `make bench-testing`; every start is a new process. Prints medians with their spread, and processor time, which a
busy machine changes less. Exits with 1 when a target is missed beyond doubt. Measured is the wheel, built and installed
into an environment of its own with its bytecode, as people test; `--here` measures this environment, to compare
changes.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path

import click

import sesame as sesame_package
from benchmarks.installed import Installed
from benchmarks.ratios import interval, over, spread
from benchmarks.servers import sesame
from sesame.testing import Cloud

START_S, RESET_S = 0.5, 0.020
# What a session waits for: the test file imports the official clients, as most do, while Sesame starts.
SUITE = """
import time
import fc2, oss2, pytest

def test_it(request):
    began = time.perf_counter()
    request.getfixturevalue("sesame_cloud")
    print("waited", time.perf_counter() - began)

def test_early(sesame_cloud):
    pass
"""


def started(server: AbstractContextManager[object]) -> tuple[float, float]:
    """Seconds until it answers, and of processor time of all its processes from their start to their end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    with server:
        took_s = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return took_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def waited_s() -> float:
    """How long the first test of a session waits for its Sesame."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test_it.py").write_text(SUITE)
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test_it.py"]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
        return float(done.stdout.partition("waited ")[2].split()[0])


def resets_s(sandbox: str, count: int) -> list[float]:
    """Of the emptying after tests that deploy, call, put an object and leave an instance and triggers."""
    found = []
    with Cloud(sandbox=sandbox) as cloud:
        for _ in range(count + 1):
            echo = cloud.function(_echo, name="echo")
            echo.invoke(b"x")
            echo.on_timer("@every 1h")
            echo.on_object("photos")
            cloud.bucket("photos").put("a", b"x")
            cloud.settle()
            began = time.perf_counter()
            cloud.reset()
            found.append(time.perf_counter() - began)
    # The first compiles the statements of the database.
    return found[1:]


def _echo(event: bytes, context: object) -> bytes:
    return event


def shown(values_s: list[float]) -> str:
    low, high = interval(values_s)
    middle = statistics.median(values_s)
    return f"median {middle * 1000:.1f} ms (95 %: {low * 1000:.1f} to {high * 1000:.1f}, n={len(values_s)})"


@click.command()
@click.option("--rounds", default=9, show_default=True)
@click.option("--resets", default=30, show_default=True)
@click.option("--here", is_flag=True, help="This environment, and not one of the wheel.")
def main(rounds: int, resets: int, here: bool) -> None:
    if not here:
        with tempfile.TemporaryDirectory(prefix="sesame-installed-") as folder:
            installed = Installed(Path(folder), also=("oss2",))
            raise SystemExit(installed.run("benchmarks.testing", "--here", f"--rounds={rounds}", f"--resets={resets}"))
    click.echo(f"of {Path(sesame_package.__file__).parent}")
    # The first of each kind may compile what it imports.
    with Cloud(), sesame():
        waited_s()
    pairs = [(started(Cloud()), started(sesame())) for _ in range(rounds)]
    starts = [ours[0] for ours, _peer in pairs]
    click.echo(f"start until it answers: {shown(starts)}")
    click.echo(f"  beside `sesame start`: {spread([ours[0] / peer[0] for ours, peer in pairs])}")
    click.echo(f"  processor time of all that it runs: {shown([ours[1] for ours, _peer in pairs])}")
    click.echo(f"    beside `sesame start`: {spread([ours[1] / peer[1] for ours, peer in pairs])}")
    waits = [waited_s() for _ in range(rounds)]
    click.echo(f"wait of a session's first test: {shown(waits)}")
    missed = over(waits, START_S)
    for sandbox in ("plain", "auto"):
        found = resets_s(sandbox, resets)
        click.echo(f"emptying after a test ({sandbox}): {shown(found)}")
        missed = missed or over(found, RESET_S)
    if missed:
        raise SystemExit(
            f"missed: a session waits at most {START_S:g} s, an emptying takes at most {RESET_S * 1000:g} ms"
        )


if __name__ == "__main__":
    main()
