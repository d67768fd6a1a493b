"""Restarts the command inside a systemd scope whose cgroups belong to the ordinary user.

Called by `sesame start`. With its own cgroups, the kernel enforces a jail's limits even without root (docs/jail.md).
"""

import os
import platform
import shutil
import subprocess
import sys

from sesame import timed_programs

# Marks the restarted command, so that it does not restart again.
MARK = "SESAME_IN_SCOPE"
TRIAL_TIMEOUT_S = 5.0
_SCOPE = ("--user", "--scope", "--quiet", "--collect", "--property=Delegate=yes")


def enter_scope(sandbox: str) -> None:
    """Does not return if systemd gives this user a scope. `sandbox` is the setting; `plain` uses no cgroups."""
    if platform.system() != "Linux" or os.geteuid() == 0 or sandbox == "plain" or MARK in os.environ:
        return
    if not is_the_program():
        return
    runner = shutil.which("systemd-run")
    # systemd-run fails without the user's own service manager.
    if runner is None or "XDG_RUNTIME_DIR" not in os.environ or _has_cgroups() or not _gives_scopes(runner):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    command = [runner, *_SCOPE, sys.executable, *sys.orig_argv[1:]]
    os.execve(runner, command, {**os.environ, MARK: "1"})


def is_the_program() -> bool:
    """Whether this process is the command itself, not a part of another program that embeds it."""
    arguments = sys.argv[1:]
    return not arguments or sys.orig_argv[-len(arguments) :] == arguments


def _has_cgroups() -> bool:
    from sesame.sandbox.jail.sweep import hierarchies

    return "memory" in hierarchies().bases


def _gives_scopes(runner: str) -> bool:
    """Whether systemd grants a scope: tries it with a program that does nothing."""
    try:
        tried = timed_programs.run([runner, *_SCOPE, "true"], TRIAL_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0
