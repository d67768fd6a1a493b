"""Holds that everything that waits or asks for the time does so through `model.clocks.Clocks`.

Run by `make check` and `make test`. Reads the sources as text. `MACHINE_TIME` says who may use the machine's clocks.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from tests.test_architecture import SHIM, SRC, name_of, package_of, sources

# What asks for the time or waits, as written after the last import: module and name.
CALLS = frozenset(
    {
        "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns",
        "time.sleep", "asyncio.sleep", "asyncio.timeout", "asyncio.timeout_at", "asyncio.wait_for", "datetime.now",
        "datetime.utcnow", "datetime.today", "date.today", "threading.Timer",
    }
)  # fmt: skip
# Methods of an event loop, whatever it is called; the same names are allowed on clocks.
LOOP_METHODS = frozenset({"call_later", "call_at"})
CLOCKS = frozenset({"clocks", "_clocks", "SYSTEM_CLOCKS"})

# Who may, by file or folder, and why.
MACHINE_TIME = {
    "model/clocks.py": "is the seam",
    "sandbox/": "waits for real processes and the kernel, and measures them: virtual time would kill what starts well",
    "inside/": "waits for hosts outside, and dates certificates that real clients check",
    "cli/": "runs before, after or beside a server, in a process of its own",
    "data_dir.py": "waits for the lock of another process",
    "store/logs/writer.py": "waits until a process that died may be started again",
    "store/logs/logstores/shared_groups.py": "bounds what waits for a store that is another process",
    "store/logs/shared/loops.py": "bounds what waits for a store that is another process",
    "store/sql/postgresql.py": "waits for a PostgreSQL, which is another process",
    "store/sql/leadership.py": "bounds what waits for a PostgreSQL, which is another process",
    "build/installer.py": "compares with the times of files, which the kernel writes",
    "store/blobs/draft.py": "compares with the times of files, which the kernel writes",
    "store/blobs/bucket.py": "bounds what waits for a store that is another process",
    "store/blobs/s3_upload.py": "bounds what waits for a store that is another process",
    "store/sql/database.py": "measures how long commits take, which is real whatever the time is",
    "store/upkeep/": "works on a data directory that no Sesame uses",
    "engine/host_load.py": "compares with the processor's time, which the kernel counts",
    "http/server.py": "gives running requests of real clients time to end at a shutdown",
    "http/admission.py": "bounds the handshakes of real clients, as the event loop does",
    "http/slow_start.py": "looks again whether requests of real clients run",
    "http/moving.py": "looks again whether a real client has taken the answers before",
    "cluster/": "bounds what other machines take to answer; who leads, and until when, is by Clocks",
    "on_ray/": "waits for real processes, which it starts again",
    "agents/": "waits for other processes, which the supervisor starts again, and for real clients meanwhile",
    "http/tls.py": "looks again for bytes that a real client has yet to send",
    "testing/": "has the clock that tests move, runs beside a server, and waits for real processes",
    "store/queue/batching.py": "has commits wait for each other some milliseconds, whatever the time is",
    "fc/headers.py": "dates request ids, which are unique whatever the time is",
    "control/certificates.py": "bounds a process that checks a key",
}


# The last part of everything above, and of `loop.time`.
NAMES = frozenset({*(each.rpartition(".")[2] for each in CALLS), *LOOP_METHODS, "time"})
MODULES = frozenset(each.partition(".")[0] for each in CALLS)
# What a file must have to use any of it: one of these names of something, or imported.
SEEN = re.compile(rf"\.\s*({'|'.join(NAMES)})\b|\bfrom\s+({'|'.join(MODULES)})\s+import\b")


@functools.cache
def uses_of(path: Path) -> tuple[str, ...]:
    return tuple(uses_in(path.read_text()))


def uses_in(text: str) -> Iterator[str]:
    """`time.sleep:12` of everything in a file's text that waits or asks for the time by itself."""
    # To parse every file takes seconds.
    if not SEEN.search(text):
        return
    tree = ast.parse(text)
    from_modules = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    yields = {
        call.func
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and len(call.args) == 1
        and getattr(call.func, "attr", "") == "sleep"
        and ast.unparse(call) == "asyncio.sleep(0)"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and from_modules.get(node.id) in CALLS:
            yield f"{from_modules[node.id]}:{node.lineno}"
        if not isinstance(node, ast.Attribute) or node.attr not in NAMES or node in yields:
            continue
        written, owner = ast.unparse(node), ast.unparse(node.value)
        if ".".join(written.split(".")[-2:]) in CALLS:
            yield f"{written}:{node.lineno}"
        of_a_loop = node.attr == "time" and owner.split(".")[-1].strip("()") in ("loop", "_loop", "get_running_loop")
        if of_a_loop or (node.attr in LOOP_METHODS and owner.split(".")[-1] not in CLOCKS):
            yield f"{written}:{node.lineno}"


def allowed(name: str) -> str | None:
    """The line of `MACHINE_TIME` that the file comes under."""
    return next((key for key in MACHINE_TIME if name == key or (key.endswith("/") and name.startswith(key))), None)


def host_files() -> list[Path]:
    return [path for path in sources() if package_of(path) != SHIM]


def test_time_comes_from_the_clocks_that_are_handed_in() -> None:
    found = {name_of(path): uses_of(path) for path in host_files() if allowed(name_of(path)) is None}
    found = {name: uses for name, uses in found.items() if uses}
    assert not found, f"these use the machine's time: {found}; take it from Clocks"


def test_every_exception_is_still_needed() -> None:
    used = {allowed(name_of(path)) for path in host_files() if uses_of(path)}
    assert used == set(MACHINE_TIME)


def test_the_check_finds_what_it_is_there_for() -> None:
    assert SRC.is_dir()
    found = {
        "import time\ntime.sleep(1)": "time.sleep:2",
        "from time import monotonic\nmonotonic()": "time.monotonic:2",
        "import asyncio\nasyncio.sleep(0.1)": "asyncio.sleep:2",
        "loop.call_later(1, f)": "loop.call_later:1",
        "self._loop.call_at(1, f)": "self._loop.call_at:1",
        "asyncio.get_running_loop().time()": "asyncio.get_running_loop().time:1",
        "import datetime\ndatetime.datetime.now()": "datetime.datetime.now:2",
        "f(clock=time.time)": "time.time:1",
    }
    for text, expected in found.items():
        assert list(uses_in(text)) == [expected], text
    assert list(uses_in("asyncio.sleep(0)\nclocks.call_later(1, f)\nself._clocks.sleep(1)\nt.time()")) == []
