"""Whether a server stays as it is for as long as it runs: calls at a fixed rate, of functions that come, change and go.

Run by `make bench-soak`; samples what the server holds, says of each kind whether it stayed flat, and draws it. Without
an option for thirty minutes; `--minutes 1 --functions 8` shows in short that it works.
"""

import asyncio
import contextlib
import itertools
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import psutil

from benchmarks.load import KeptConnections, answered
from benchmarks.plot import Series, svg
from benchmarks.servers import Endpoint, package, sesame
from sesame.sandbox.jail.sweep import hierarchies

FUNCTION = "def my_handler(event, context):\n    print('called')\n    return 'ok'\n"
HOST, SERVICE = "127.0.0.1", "soak"
SAMPLE_EVERY_S = 5.0
WAIT_S = 60.0
# Samples before this part of the run show how it fills, not whether it stays.
WARM_UP = 0.2
# What the last third may be over the first one after the warm-up.
FLAT_RATIO, FLAT_SLACK = 1.10, 8.0


class Sample(msgspec.Struct, frozen=True):
    """What the server held at one moment: the process itself, all below it, and its data directory.

    Code that no function has any more stays for 15 to 25 minutes (`control.cleanup`), so `packages` grow until then.
    """

    at_s: float
    server_mb: float
    memory_mb: float
    descriptors: int
    processes: int
    cgroups: int
    mounts: int
    namespaces: int
    files: int
    packages: int


KINDS = Sample.__struct_fields__[1:]
FLAT_KINDS = [kind for kind in KINDS if kind != "packages"]


@click.command()
@click.option("--minutes", default=30.0, show_default=True)
@click.option("--rate", default=50.0, show_default=True, help="Calls a second.")
@click.option("--functions", default=50, show_default=True)
@click.option("--change-every", default=2.0, show_default=True, help="Seconds between two changes of the catalog.")
@click.option("--sandbox", default="jail", show_default=True)
@click.option("--runtime", default="python3.12", show_default=True)
@click.option("--picture", type=Path, default=None, help="Where the curves are drawn, as SVG.")
def main(
    *,
    minutes: float,
    rate: float,
    functions: int,
    change_every: float,
    sandbox: str,
    runtime: str,
    picture: Path | None,
) -> None:
    with sesame("--sandbox", sandbox) as endpoint:
        soak = Soak(endpoint, Functions(endpoint, runtime, functions), minutes * 60)
        asyncio.run(soak.run(rate, change_every))
    asked = int(rate * minutes * 60)
    click.echo(f"{asked} calls at {rate:g}/s, {soak.statuses.total()} answered: {dict(soak.statuses)}")
    click.echo(f"packages: {soak.samples[-1].packages} in the end, {max(s.packages for s in soak.samples)} at most")
    for kind in FLAT_KINDS:
        first, last, flat = flatness([float(getattr(sample, kind)) for sample in soak.samples])
        click.echo(f"{kind}: {first:.1f} → {last:.1f} {'flat' if flat else 'NOT FLAT'}")
    if picture is not None:
        curves = [Series(kind, [(s.at_s / 60, float(getattr(s, kind))) for s in soak.samples]) for kind in KINDS]
        picture.write_text(svg(curves, "minutes"))


def flatness(values: list[float]) -> tuple[float, float, bool]:
    """The medians of the first and of the last third after the warm-up, and whether the last is no more."""
    values = values[int(len(values) * WARM_UP) :]
    third = max(1, len(values) // 3)
    first, last = statistics.median(values[:third]), statistics.median(values[-third:])
    return first, last, last <= first * FLAT_RATIO + FLAT_SLACK


class Functions:
    """Those that are deployed. Each change is one more, one of other code, or one less."""

    def __init__(self, endpoint: Endpoint, runtime: str, count: int) -> None:
        self._client = endpoint.client()
        self._runtime = runtime
        self._count = count
        self._serial = itertools.count(1)
        self.names: list[str] = []

    def deploy(self) -> None:
        self._client.create_service(SERVICE)
        while len(self.names) < self._count:
            self._create()

    def change(self) -> None:
        random.choice((self._replace, self._update))()

    def _create(self) -> None:
        name = f"f{next(self._serial)}"
        with self._code() as code:
            self._client.create_function(
                SERVICE, name, handler="main.my_handler", runtime=self._runtime, memorySize=128, codeZipFile=code
            )
        self.names.append(name)

    def _replace(self) -> None:
        gone = self.names.pop(random.randrange(len(self.names)))
        self._client.delete_function(SERVICE, gone)
        self._create()

    def _update(self) -> None:
        with self._code() as code:
            self._client.update_function(SERVICE, random.choice(self.names), codeZipFile=code)

    def _code(self) -> contextlib.AbstractContextManager[str]:
        return package({"main.py": f"# {next(self._serial)}\n{FUNCTION}"})


class Soak:
    """One run. `samples` and `statuses` are there when it has ended."""

    def __init__(self, endpoint: Endpoint, functions: Functions, seconds: float) -> None:
        self._endpoint = endpoint
        self._functions = functions
        self._seconds = seconds
        self._began = 0.0
        self._connections = KeptConnections(HOST, endpoint.port)
        self.samples: list[Sample] = []
        self.statuses: Counter[int] = Counter()

    async def run(self, rate: float, change_every_s: float) -> None:
        await asyncio.to_thread(self._functions.deploy)
        self._began = time.monotonic()
        await asyncio.gather(self._call(rate), self._change(change_every_s), self._sample())
        self._connections.close()

    async def _call(self, rate: float) -> None:
        """At their times, whether or not those before have ended."""
        calling: set[asyncio.Task[None]] = set()
        for number in range(int(rate * self._seconds)):
            await asyncio.sleep(max(0.0, self._began + number / rate - time.monotonic()))
            call = asyncio.create_task(self._one(random.choice(self._functions.names)))
            calling.add(call)
            call.add_done_callback(calling.discard)
        if calling:
            await asyncio.wait(calling, timeout=WAIT_S)

    async def _one(self, name: str) -> None:
        """A function that went meanwhile answers 404, which is right."""
        reader, writer = await self._connections.take()
        writer.write(self._endpoint.signed_invocation(SERVICE, name))
        self.statuses[await answered(reader)] += 1
        self._connections.give_back(reader, writer)

    async def _change(self, every_s: float) -> None:
        while time.monotonic() - self._began < self._seconds:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self._functions.change)

    async def _sample(self) -> None:
        while (at_s := time.monotonic() - self._began) < self._seconds:
            self.samples.append(await asyncio.to_thread(sample, self._endpoint.pid, at_s))
            await asyncio.sleep(min(SAMPLE_EVERY_S, self._seconds / 12))


def sample(pid: int, at_s: float) -> Sample:
    server = psutil.Process(pid)
    below = [server, *server.children(recursive=True)]
    data = Path(server.cwd())
    packages = data / "data" / "packages"
    return Sample(
        at_s=at_s,
        server_mb=_own_mb(server),
        memory_mb=sum(map(_memory_mb, below)),
        descriptors=sum(map(_descriptors, below)),
        processes=len(below),
        cgroups=sum(1 for _ in _groups(pid)),
        mounts=len(Path(f"/proc/{pid}/mountinfo").read_text().splitlines()),
        namespaces=len({_namespace(process.pid) for process in below}),
        files=sum(len(names) for folder, _folders, names in os.walk(data) if not Path(folder).is_relative_to(packages)),
        packages=sum(1 for _ in packages.iterdir()),
    )


def _own_mb(server: psutil.Process) -> float:
    """What it shares with nobody."""
    return float(server.memory_full_info().uss) / 2**20


def _memory_mb(process: psutil.Process) -> float:
    """Its own pages: those that it shares count once for all."""
    with contextlib.suppress(psutil.Error):
        return float(process.memory_full_info().pss) / 2**20
    return 0.0


def _descriptors(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.num_fds())
    return 0


def _groups(pid: int) -> Iterator[Path]:
    for name, found in hierarchies().leftovers():
        if f"-{pid}-" in name:
            for base in set(found.bases.values()):
                yield from (base / name).iterdir()


def _namespace(pid: int) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/mnt")
    return ""


if __name__ == "__main__":
    main()
