"""Makes a process take this machine for one of another system: without Linux's modules, calls and /proc.

Used by the tests of what works without Linux's walls, in processes of their own: `become` cannot be undone. What the
standard library and psutil do themselves stays as it is; they have their own ways on each system.
"""

import builtins
import importlib.abc
import inspect
import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

NAMES = {"darwin": "Darwin", "win32": "Windows"}
# Ours and the standard library's that only Linux has, and those that Windows lacks besides.
MODULES = {
    "darwin": ("sesame.sandbox.jail", "sesame.sandbox.cgroups", "spwd"),
    "win32": ("fcntl", "grp", "pwd", "pty", "resource", "termios", "tty", "uvloop"),
}
CALLS: tuple[tuple[ModuleType, tuple[str, ...]], ...] = (
    (os, ("memfd_create", "pidfd_open", "setns", "unshare", "eventfd", "sched_getaffinity", "sched_setaffinity")),
    (os, ("O_PATH", "O_TMPFILE", "copy_file_range", "splice", "getrandom", "posix_fadvise", "setresuid", "setresgid")),
    (signal, ("SIGRTMIN", "SIGRTMAX", "SIGPWR", "SIGSTKFLT", "SIGPOLL", "sigtimedwait", "sigwaitinfo")),
    (socket, ("SO_PEERCRED", "AF_NETLINK", "SCM_CREDENTIALS", "SO_PASSCRED")),
)
# A program that Sesame starts under its own interpreter is to be there too.
SPAWNED = (
    "import sys, runpy; sys.path[:0] = {paths!r}; from tests.support import elsewhere; elsewhere.become({system!r}); "
    "sys.argv = {argv!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
)
BECOMES = (
    "import sys; own = sys.path[:]; sys.path[:0] = {paths!r}; from tests.support import elsewhere; "
    "elsewhere.become({system!r}); sys.path[:] = own"
)
_HIDDEN = ("/proc", "/sys")


class _Missing(importlib.abc.MetaPathFinder):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if any(fullname == name or fullname.startswith(name + ".") for name in self._names):
            raise ModuleNotFoundError(f"No module named {fullname!r} on {sys.platform}", name=fullname)


def become(system: str) -> None:
    """From here on this process is one of `system` (darwin or win32), and so are those that it starts with Python."""
    # What has been imported works as on this system.
    import asyncio  # noqa: F401
    import sysconfig

    import psutil  # noqa: F401

    sysconfig.get_config_vars()
    for name in MODULES[system]:
        assert not any(each == name or each.startswith(name + ".") for each in sys.modules if "sesame" in name)
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Missing(MODULES[system]))
    for module, names in CALLS:
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    _hide_linux()
    _start_others_there(system)
    sys.platform = system
    platform.system = lambda: NAMES[system]


def _hide_linux() -> None:
    for module, name in ((builtins, "open"), (os, "open"), (os, "listdir"), (os, "readlink")):
        setattr(module, name, _hiding(getattr(module, name)))


def _hiding(call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, for which our own code finds nothing in /proc and /sys."""

    def hidden(path: Any = ".", *arguments: Any, **named: Any) -> Any:
        frame = inspect.currentframe()
        asking = frame.f_back.f_globals.get("__name__", "") if frame is not None and frame.f_back is not None else ""
        if (
            isinstance(path, str)
            and path.startswith(_HIDDEN)
            and asking.startswith(("sesame", "__main__", "<run_path>"))
        ):
            raise FileNotFoundError(2, "No such file or directory", path)
        return call(path, *arguments, **named)

    return hidden


def _start_others_there(system: str) -> None:
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    original = subprocess.Popen.__init__

    def there(self: Any, args: Any, *rest: Any, **named: Any) -> None:
        # As the spawner process is started: [python, "-I", "-S", "-E", PROGRAM, ARGUMENT…].
        if isinstance(args, list) and args[:4] == [sys.executable, "-I", "-S", "-E"]:
            code = SPAWNED.format(paths=[root, *filter(None, sys.path)], system=system, argv=args[4:])
            args = [sys.executable, "-I", "-S", "-c", code]
        # As the server of tests is started: [python, "-I", OPTION…, "-c", CODE, ARGUMENT].
        elif isinstance(args, list) and args[:2] == [sys.executable, "-I"] and args[-3:-2] == ["-c"]:
            first = BECOMES.format(paths=[root, *filter(None, sys.path)], system=system)
            args = [*args[:-2], f"{first}\n{args[-2]}", args[-1]]
        original(self, args, *rest, **named)

    subprocess.Popen.__init__ = there  # type: ignore[method-assign]
