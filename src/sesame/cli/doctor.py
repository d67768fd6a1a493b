"""`sesame doctor`: shows what Sesame can do on this machine; with `--check`, whether a data directory is intact.

Exits with 1 if functions cannot run, or if the data directory is damaged. Changes nothing.
"""

import asyncio
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from sesame.cli import output
from sesame.cli.doctor_mounts import buckets, mounts
from sesame.cli.finding import BAD, GOOD, POOR, Finding
from sesame.cli.json_option import with_json
from sesame.cli.options import settle, with_settings
from sesame.cli.version import describe
from sesame.data_dir import DataDir
from sesame.model.errors import ConfigurationError
from sesame.sandbox import descriptors
from sesame.sandbox.drivers import Choice, Wanted, choose
from sesame.sandbox.interface import Enforcement, SandboxDriver
from sesame.sandbox.runtimes import interpreters, nodes
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.settings import Settings
from sesame.store.blobs.ownership import require_own_objects
from sesame.store.sql.backends import backend_of
from sesame.store.sql.pairing import require_own_database
from sesame.store.upkeep.check import check
from sesame.store.upkeep.contents import BucketContents
from sesame.store.upkeep.damage import Checked

FREE_DISK_MB_LEAST = 512
MIB = 1024 * 1024


@click.command()
@click.option("--check", "checks_data", is_flag=True, help="Verify each file and digest of the data directory.")
@with_json
@with_settings(
    "data_dir",
    "database",
    "objects",
    "interpreters",
    "runtimes_dir",
    "port",
    "https_port",
    "oss_port",
    "sls_port",
    "sts_port",
    "sandbox",
    "cpu",
    "network",
)
def doctor(checks_data: bool, as_json: bool, **flags: Any) -> None:
    """Checks interpreters, packages, the sandbox, the data directory and the ports."""
    settings = settle(flags)
    if checks_data:
        findings = _checked_data(DataDir(settings.data_dir, settings.database, settings.objects))
    else:
        findings = _of_this_machine(settings)
    found = []
    for finding in findings:
        found.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        output.json_document({"findings": found})
    if any(finding.state == BAD for finding in found):
        sys.exit(1)


def _of_this_machine(settings: Settings) -> Iterator[Finding]:
    yield Finding(
        GOOD, f"Sesame {describe()} on Python {platform.python_version()}, {platform.system()} "
        f"{platform.release()} {platform.machine()}",
    )  # fmt: skip
    known = Runtimes.look_up(settings.interpreters, settings.resolved_runtimes_dir())
    yield from _runtimes(known)
    yield from _nodes(known)
    yield from _data_dir(settings)
    yield from _database(settings)
    yield from _objects(settings)
    yield from _ports(settings)
    yield from _sandbox(settings, known)


def _show(finding: Finding) -> None:
    marks = {GOOD: "[green]ok   [/]", POOR: "[yellow]note [/]", BAD: "[red]wrong[/]"}
    output.out.print(marks[finding.state], end=" ")
    output.out.print(finding.what, markup=False)
    if finding.next_step:
        output.out.print(f"      {finding.next_step}", markup=False)


def _checked_data(data_dir: DataDir) -> Iterator[Finding]:
    """Checks the complete data directory, whether or not a Sesame runs on it."""
    data_dir.refuse_file()
    require_own_database(data_dir.path, data_dir.database)
    require_own_objects(data_dir.path, data_dir.bucket)
    if not data_dir.path.is_dir():
        raise ConfigurationError(f"the data directory {data_dir.path} does not exist: name another with --data-dir")
    running = data_dir.running() is not None
    yield Finding(GOOD, f"checking {data_dir.path}{', which a running Sesame uses' if running else ''}")
    checked, sound = Checked(), True
    for damage in check(data_dir, checked, running=running, began_at=data_dir.began_at()):
        sound = sound and damage.harmless
        yield Finding(POOR if damage.harmless else BAD, damage.what, damage.next_step)
    segments = f", {checked.log_segments} segments of logs" if checked.log_segments else ""
    looked_at = (
        f"{checked.records} records, {checked.blobs} files of objects ({checked.blob_bytes} bytes) and "
        f"{checked.packages} code packages{segments}"
    )
    yield Finding(GOOD if sound else BAD, f"looked at {looked_at}: {'all sound' if sound else 'there is damage'}")


def _runtimes(known: Runtimes) -> Iterator[Finding]:
    for runtime in known.known():
        interpreter = known.found.get(runtime)
        if interpreter is None:
            # A missing runtime does not affect the others; without any runtime, no function can run.
            state = POOR if known.found else BAD
            yield Finding(state, f"{runtime}: no interpreter", f"get it: {interpreters.how_to_get(runtime)}")
            continue
        manifest = known.packages.manifest(runtime)
        what = f"{runtime}: CPython {interpreter.version} at {interpreter.path}"
        if interpreter.substitute_for:
            yield Finding(
                POOR, f"{what} in place of {interpreter.substitute_for}", f"get it: {interpreters.how_to_get(runtime)}"
            )
        if manifest is None:
            yield Finding(POOR, f"{what}, without the cloud's packages", f"sesame runtimes install {runtime}")
        elif not interpreter.substitute_for:
            yield Finding(GOOD, f"{what}, {len(manifest.packages)} packages")


def _nodes(known: Runtimes) -> Iterator[Finding]:
    """One finding for all Node.js runtimes; without any Node.js, calls of its functions report that."""
    for path in sorted(set(known.nodes.values())):
        runtimes = ", ".join(runtime for runtime, program in known.nodes.items() if program == path)
        version = nodes.version_of(path)
        if version:
            yield Finding(GOOD, f"{runtimes}: Node.js {version} at {path}")
        else:
            yield Finding(POOR, f"{runtimes}: {path} does not say its version", nodes.HOW_TO_GET)


def _data_dir(settings: Settings) -> Iterator[Finding]:
    data_dir = DataDir(settings.data_dir, settings.database, settings.objects)
    existing = next(path for path in (data_dir.path, *data_dir.path.parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        yield Finding(BAD, f"data directory {data_dir.path}: {error.strerror}", "name another with --data-dir")
        return
    try:
        running = data_dir.running()
    except ConfigurationError as error:
        yield Finding(BAD, f"data directory {data_dir.path}: {error}")
        return
    state = f"in use by Sesame {running.pid} at {running.fc}" if running else "free to use"
    yield Finding(GOOD, f"data directory {data_dir.path}: {state}")
    free_mb = shutil.disk_usage(existing).free // MIB
    if free_mb < FREE_DISK_MB_LEAST:
        yield Finding(POOR, f"only {free_mb} MB are free for {data_dir.path}", "free some, or name another --data-dir")


def _database(settings: Settings) -> Iterator[Finding]:
    """Whether an external database is usable. `--check` examines the one in the data directory."""
    if settings.database is None:
        return
    backend = backend_of(settings.database)
    try:
        version = backend.follow(lambda connection: connection.dialect.server_version_info)
        missing = backend.missing()
    except ConfigurationError as error:
        yield Finding(BAD, str(error))
        return
    what = f"PostgreSQL {'.'.join(map(str, version or ()))}"
    yield Finding(GOOD, f"database {backend.shown}: {what}{f', {missing}' if missing else ''}")


def _objects(settings: Settings) -> Iterator[Finding]:
    """Whether an external object store answers. `--check` examines its contents."""
    if settings.objects is None:
        return
    try:
        with BucketContents(settings.objects) as contents:
            kept = contents.holds_something()
    except ConfigurationError as error:
        yield Finding(BAD, str(error))
        return
    yield Finding(GOOD, f"objects {contents.shown}: it answers, {'in use' if kept else 'empty'}")


def _ports(settings: Settings) -> Iterator[Finding]:
    try:
        if DataDir(settings.data_dir).running():
            return
    except ConfigurationError as error:
        # `_data_dir` has already reported the error. Whether Sesame itself uses the ports is unknown.
        yield Finding(POOR, f"whether a Sesame of this directory has the ports is not known: {error}")
    for flag, port in (
        ("--port", settings.port),
        ("--https-port", settings.https_port),
        ("--oss-port", settings.oss_port),
        ("--sls-port", settings.resolved_port("sls_port")),
        ("--sts-port", settings.resolved_port("sts_port")),
    ):
        if not port:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                yield Finding(GOOD, f"port {port} is free")
            except OSError as error:
                yield Finding(POOR, f"port {port}: {error.strerror}", f"choose another with {flag}, 0 for any")


def _sandbox(settings: Settings, known: Runtimes) -> Iterator[Finding]:
    """Opens the driver that `sesame start` would use, without zygotes, and closes it again."""
    with tempfile.TemporaryDirectory(prefix="sesame-doctor-") as folder:
        wanted = Wanted(
            name=settings.sandbox, cpu=settings.cpu, state=Path(folder), runtimes=(), network=settings.network
        )
        try:
            choice, held = asyncio.run(_opened(wanted, known))
        except ConfigurationError as error:
            yield Finding(BAD, str(error))
            return
    yield Finding(POOR if choice.reason else GOOD, f"sandbox {choice.driver.name}", choice.reason)
    yield _open_files(settings, choice.driver)
    for line in held:
        what = f"sandbox {choice.driver.name}: {line.what} {'' if line.enforced else 'NOT '}enforced ({line.by})"
        yield Finding(GOOD if line.enforced else POOR, what)
    yield from mounts(settings, DataDir(settings.data_dir).nas, choice.driver.name)
    yield buckets(choice.driver)


def _open_files(settings: Settings, driver: SandboxDriver) -> Finding:
    """How many instances a server could run here. `driver` has been opened."""
    # Imported late because it imports the network servers, which the other checks do not need.
    from sesame._network import listens_max

    of_instance = driver.descriptors(listens_max(settings))
    limit = descriptors.of_server()
    most = descriptors.instances_max(limit, of_instance)
    what = f"open files: {limit} allow {most} instances at a time, {of_instance} for each"
    if most < settings.max_instances:
        what += f", and one function may have {settings.max_instances}"
        return Finding(POOR, what, "raise the hard limit (ulimit -Hn, or LimitNOFILE of a systemd unit)")
    return Finding(GOOD, what)


async def _opened(wanted: Wanted, known: Runtimes) -> tuple[Choice, tuple[Enforcement, ...]]:
    choice = await choose(wanted, known.launch)
    try:
        await choice.driver.open()
        return choice, choice.driver.enforcement()
    finally:
        await choice.driver.close()
