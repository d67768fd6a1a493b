"""`sesame restart`: has the running Sesame start again in its place, without a call that fails.

Sends a signal, and waits until `endpoints.json` tells of the next start. What is done is in `cli.start`.
"""

import os
import time
from typing import Any

import click
import msgspec

from sesame.cli import output, server
from sesame.cli.json_option import with_json
from sesame.cli.options import settle, with_settings
from sesame.cli.restarting import ASKS
from sesame.data_dir import DataDir, Endpoints, lives
from sesame.model.errors import ConfigurationError

LOOK_EVERY_S = 0.05


@click.command()
@with_json
@with_settings("data_dir")
def restart(as_json: bool, **flags: Any) -> None:
    """Has the Sesame that runs on the data directory start again, with what is installed and set by now.

    Calls that run have `drain_s` to end. Those that come meanwhile wait, and connections stay open.
    """
    data_dir = server.directory(settle(flags).data_dir)
    before = data_dir.require_running()
    if not before.restarts:
        # Also where several agents run (docs/agents.md).
        raise ConfigurationError(
            f"the Sesame on {data_dir.path} (pid {before.pid}) cannot start again in its place: expected one agent "
            "that `sesame start` of this version or a later one has started; stop it, and start it again"
        )
    began = time.monotonic()
    try:
        os.kill(before.pid, ASKS)
    except PermissionError as error:
        raise ConfigurationError(
            f"the Sesame on {data_dir.path} (pid {before.pid}) is another user's: do this as the user who started it"
        ) from error
    after = _wait(data_dir, before)
    took_s = time.monotonic() - began
    if as_json:
        output.json_document({**msgspec.to_builtins(after), "took_s": took_s})
    else:
        output.note(f"Sesame is ready again after {took_s:.1f} s: {after.fc}, pid {after.pid}.")


def _wait(data_dir: DataDir, before: Endpoints) -> Endpoints:
    while True:
        now = data_dir.running()
        if now is not None and now.started_at != before.started_at:
            return now
        if now is not None and now.restart_refused is not None and now.restart_refused != before.restart_refused:
            raise ConfigurationError(f"Sesame goes on as it is: {now.restart_refused.why}")
        if now is None and not lives(before):
            raise ConfigurationError(
                f"the Sesame on {data_dir.path} has ended instead of starting again: what it wrote says why; mend that "
                "and start it with `sesame start`"
            )
        time.sleep(LOOK_EVERY_S)
