"""Starts the command again inside a scope of systemd whose cgroups belong to an ordinary user.

Called by `sesame start`. With cgroups of its own a jail's limits are the kernel's, also without root (docs/jail.md).
"""

import os
import platform
import shutil
import subprocess
import sys

from sesame import timed_programs

# Tells the command that it was started again, so that it does not try for ever.
MARK = "SESAME_IN_SCOPE"
TRIAL_TIMEOUT_S = 5.0
_SCOPE = ("--user", "--scope", "--quiet", "--collect", "--property=Delegate=yes")


def enter_scope(sandbox: str) -> None:
    """Does not return where systemd gives this user a scope. `sandbox` is the setting; `plain` uses no cgroups."""
    if platform.system() != "Linux" or os.geteuid() == 0 or sandbox == "plain" or MARK in os.environ:
        return
    if not is_the_program():
        return
    runner = shutil.which("systemd-run")
    # Without a manager of the user's own, systemd-run would look for one in vain.
    if runner is None or "XDG_RUNTIME_DIR" not in os.environ or _has_cgroups() or not _gives_scopes(runner):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    command = [runner, *_SCOPE, sys.executable, *sys.orig_argv[1:]]
    os.execve(runner, command, {**os.environ, MARK: "1"})


def is_the_program() -> bool:
    """Whether the process was started as this command, and is not a part of another program that runs it."""
    arguments = sys.argv[1:]
    return not arguments or sys.orig_argv[-len(arguments) :] == arguments


def _has_cgroups() -> bool:
    from sesame.sandbox.jail.sweep import hierarchies

    return "memory" in hierarchies().bases


def _gives_scopes(runner: str) -> bool:
    """Whether a scope can be had: tried with a program that does nothing."""
    try:
        tried = timed_programs.run([runner, *_SCOPE, "true"], TRIAL_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0
