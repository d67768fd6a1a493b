"""`sesame restart` and `sesame upgrade`: restart the running Sesame in place, without failing any call.

Sends a signal, and waits until `endpoints.json` describes the new start. `cli.start` performs the restart.
"""

import contextlib
import os
import time
from typing import Any

import click
import msgspec

from sesame._installed import ENVIRONMENT
from sesame.cli import output, server
from sesame.cli.json_option import with_json
from sesame.cli.options import settle, with_settings
from sesame.cli.restarting import ASKS
from sesame.data_dir import DataDir, Endpoints, lives
from sesame.model.errors import ConfigurationError

LOOK_EVERY_S = 0.05
# A start may take as long as a migration. With several agents, one that cannot start is retried forever.
AWAY_MAX_S = 600.0
# A Sesame that does not report its version yet.
UNKNOWN = "an older version"


@click.command()
@with_json
@with_settings("data_dir")
def restart(as_json: bool, **flags: Any) -> None:
    """Restarts the Sesame that runs on the data directory, with the version and settings now in place.

    Running calls have `drain_s` to end. New calls wait, and connections stay open.
    """
    _replace(_running(flags), as_json=as_json)


@click.command()
@with_json
@with_settings("data_dir")
def upgrade(as_json: bool, **flags: Any) -> None:
    """Replaces the Sesame that runs on the data directory by the version now installed.

    Like `sesame restart`, but only within one installation. Several agents are replaced one by one. If the new version
    cannot start, the command fails and the running one continues.
    """
    data_dir, before = _running(flags)
    if before.environment not in ("", ENVIRONMENT):
        raise ConfigurationError(
            f"the Sesame on {data_dir.path} ({before.version}) runs from {before.environment}, and this command is of "
            f"{ENVIRONMENT}: install the new version there, and run {before.environment}/bin/sesame upgrade"
        )
    _replace((data_dir, before), as_json=as_json)


def _running(flags: dict[str, Any]) -> tuple[DataDir, Endpoints]:
    data_dir = server.directory(settle(flags).data_dir)
    before = data_dir.require_running()
    if not before.restarts:
        raise ConfigurationError(
            f"the Sesame on {data_dir.path} (pid {before.pid}) cannot start again in its place: expected one that "
            "`sesame start` of this version or a later one has started; stop it, and start it again"
        )
    return data_dir, before


def _replace(running: tuple[DataDir, Endpoints], *, as_json: bool) -> None:
    data_dir, before = running
    began = time.monotonic()
    try:
        # If the process ends at this moment, `_wait` notices it.
        with contextlib.suppress(ProcessLookupError):
            os.kill(before.pid, ASKS)
    except PermissionError as error:
        raise ConfigurationError(
            f"the Sesame on {data_dir.path} (pid {before.pid}) is another user's: do this as the user who started it"
        ) from error
    after = _wait(data_dir, before)
    took_s = time.monotonic() - began
    if as_json:
        output.json_document({**msgspec.to_builtins(after), "version_before": before.version, "took_s": took_s})
        return
    if after.version == before.version:
        output.note(f"Sesame {after.version} ran, and runs again: the same version.")
    else:
        output.note(f"Sesame {before.version or UNKNOWN} ran, Sesame {after.version or UNKNOWN} runs now.")
    output.note(f"Sesame is ready again after {took_s:.1f} s: {after.fc}, pid {after.pid}.")


def _wait(data_dir: DataDir, before: Endpoints) -> Endpoints:
    there_at = time.monotonic()
    while True:
        now = data_dir.running()
        if now is not None:
            there_at = time.monotonic()
        if now is not None and now.started_at != before.started_at:
            return now
        if now is not None and now.restart_refused is not None and now.restart_refused != before.restart_refused:
            raise ConfigurationError(f"Sesame goes on as it is: {now.restart_refused.why}")
        if now is None and not lives(before):
            raise ConfigurationError(
                f"the Sesame on {data_dir.path} has ended instead of starting again: what it wrote says why; mend that "
                "and start it with `sesame start`"
            )
        if time.monotonic() - there_at >= AWAY_MAX_S:
            raise ConfigurationError(
                f"the Sesame on {data_dir.path} (pid {before.pid}) has not been ready again for {AWAY_MAX_S:g} s, and "
                "goes on trying until it is stopped: what it writes says why"
            )
        time.sleep(LOOK_EVERY_S)
