"""`sesame start`: runs Sesame in the foreground until SIGTERM or SIGINT, and prints where it listens.

A second signal ends it at once. `app` builds the parts.
"""

import asyncio
import contextlib
import ctypes
import gc
import resource
import shlex
import signal
import sys
from typing import Any

import click
import uvloop

from sesame.app import Sesame
from sesame.cli import output, own_log
from sesame.cli.call_lines import to_stderr
from sesame.cli.delegated import enter_scope
from sesame.cli.options import settle, with_settings
from sesame.engine.interface import Observer
from sesame.model.clocks import SystemClocks
from sesame.sandbox import descriptors
from sesame.settings import TABLE, Settings

# As a shell counts a process that SIGINT ended.
EXIT_STOPPED_AT_ONCE = 130
# After so long a thread that runs Python lets one run that waits, not after ten times as long, as by default. The
# database's thread gives the interpreter up with each statement, and until it has it again, all callers whose change
# is in the commit wait (docs/adr/0013-a-queue-of-leases.md).
SWITCH_INTERVAL_S = 0.0005
# From glibc's malloc.h.
_M_MMAP_THRESHOLD = -3
_MAPPED_BYTES = 1024 * 1024


@click.command()
@with_settings()
def start(**flags: Any) -> None:
    """Starts Sesame: endpoints on --host, everything else in the data directory."""
    settings = settle(flags)
    enter_scope(settings.sandbox)
    own_log.configure()
    _allow_many_descriptors()
    _map_large_blocks()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        uvloop.run(serve(settings))
    except asyncio.CancelledError:
        output.note("Stopped at once.")
        sys.exit(EXIT_STOPPED_AT_ONCE)


def _allow_many_descriptors() -> None:
    """Raises the soft limit on open files, often 1,024, to the hard one: connections and instances need them."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for soft in (hard, descriptors.OPEN_MAX):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            return


def _map_large_blocks() -> None:
    """Has the C library take memory of 1 MiB and more from the kernel for each block, and give it back with it.

    glibc by itself stops doing so after the first large block: then a body of 100 MB that grows is copied again and
    again, which holds up the event loop, and what was freed stays with the process.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)


async def serve(settings: Settings) -> None:
    """Starts, waits for a signal, stops."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    assert main is not None

    def on_signal() -> None:
        if stopping.is_set():
            main.cancel()
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    clocks = SystemClocks()
    calls = to_stderr(clocks, failures_only=settings.calls == "failed")
    shown = settings.calls != "none"
    sesame = Sesame(settings, clocks, Observer(ended=calls.take) if shown else None)
    if shown:
        calls.open()
    output.note(f"Starting Sesame on {sesame.data_dir.path} …")
    starting = asyncio.ensure_future(sesame.start())
    waiting = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            # Objects made by the start live as long as the process: the garbage collector need not scan them again.
            gc.collect()
            gc.freeze()
            greet(sesame, settings)
            await waiting
        else:
            starting.cancel()
            await asyncio.wait({starting})
        output.note(
            f"Stopping: no new calls; running ones get {settings.drain_s:g} s to end, or less by another signal …"
        )
    finally:
        waiting.cancel()
        await sesame.stop()
        calls.close()
    output.note("Stopped.")


def greet(sesame: Sesame, settings: Settings) -> None:
    endpoints = sesame.endpoints
    output.note(f"Sesame is ready. Data in {sesame.data_dir.path}, account {endpoints.account_id}, {endpoints.region}.")
    output.note(f"  Function Compute  {endpoints.fc}")
    for name, url in (
        ("FC over TLS", endpoints.fc_https),
        ("OSS", endpoints.oss),
        ("Log Service", endpoints.sls),
        ("STS", endpoints.sts),
        ("Metrics", endpoints.metrics),
    ):
        if url:
            output.note(f"  {name:<17} {url}")
    output.note(f"Sandbox {endpoints.sandbox}:")
    for held in sesame.enforcement():
        output.note(f"  {'enforced    ' if held.enforced else 'NOT enforced'}  {held.what}: {held.by}")
    for line in sesame.notices():
        output.note(line)
    option = (
        "" if settings.data_dir == TABLE["data_dir"].default else f" --data-dir {shlex.quote(str(settings.data_dir))}"
    )
    output.note(f'Next: eval "$({output.own_name()} env{option})"; stop with Ctrl-C.')
