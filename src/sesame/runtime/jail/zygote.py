"""The zygote: an interpreter that has imported what functions need, and forks an instance on each request.

Executed by root.py, in its own root: `python -S -u -W ignore zygote.py SHIM CONTROL_FD`, where SHIM is `python`, or
`custom` for functions that bring their own program. Holds no tenant's data, runs no user code and has one thread.

A request is one JSON packet with descriptors (see sandbox/jail/zygote_client.py); the answer is {"id", "pid"} with a
pidfd, or {"id", "error"}; when the process has ended, {"pid", "status"} follows.
"""

import errno
import fcntl
import json
import os
import signal
import sys

# What the shim needs and most functions import, so that no cold start has to. No third-party modules, which could
# shadow what a user ships, and none that starts a thread or opens a descriptor.
import base64  # noqa: F401
import binascii  # noqa: F401
import collections  # noqa: F401
import copy  # noqa: F401
import datetime  # noqa: F401
import encodings.ascii  # noqa: F401
import encodings.idna  # noqa: F401
import hashlib  # noqa: F401
import logging  # noqa: F401
import platform  # noqa: F401
import random  # noqa: F401
import re  # noqa: F401
import socket  # noqa: F401
import string  # noqa: F401
import struct  # noqa: F401
import threading  # noqa: F401
import time  # noqa: F401

_RUNTIME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(1, os.path.join(_RUNTIME, "python"))

import init
import command
import steps
import linux
import surroundings

SHIM, CUSTOM_SHIM = "python", "custom"
REQUEST_BYTES = 64 * 1024
DEFAULT_ZONE = "UTC"
_NAMESPACES = {
    "mount": linux.CLONE_NEWNS,
    "pid": linux.CLONE_NEWPID,
    "ipc": linux.CLONE_NEWIPC,
    "uts": linux.CLONE_NEWUTS,
}


def main(control, shim):
    surroundings.preload()
    steps.prepare()
    surroundings.preload()
    # Most functions use this time zone; reading it here saves each start from doing so.
    os.environ["TZ"] = DEFAULT_ZONE
    surroundings.set_time_zone()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A session leader whose monitor was killed (command.py) is reaped here, not by the host's process 1.
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    ended = _Ended()
    lifeline = os.pipe()
    packets = linux.Packets(control, REQUEST_BYTES)
    packets.send(_json(id="ready", resident_kb=_resident_kb()))
    while True:
        ready = ended.wait(control)
        for pid, status in ended.reap():
            packets.send(_json(pid=pid, status=status))
        if not ready:
            continue
        data, fds = packets.receive()
        if not data:
            os._exit(0)
        request = json.loads(data.decode("utf-8"))
        cgroup = request["cgroup"]
        of_an_instance = "init" in request
        try:
            if of_an_instance:
                pid, pidfd = linux.clone(0)
            else:
                pid, pidfd = linux.clone(_namespaces(request), fds[cgroup] if cgroup >= 0 else -1)
        except OSError as error:
            packets.send(_json(id=request["id"], error=str(error)))
        else:
            if pid == 0:
                ended.forget()
                os.close(lifeline[1])
                if of_an_instance:
                    command.enter(request, fds, [control, lifeline[0]])
                steps.enter(request, fds, [control, lifeline[0]], init.run, shim)
            packets.send(_json(id=request["id"], pid=pid), [pidfd])
            os.close(pidfd)
        for fd in fds:
            os.close(fd)


def _namespaces(request):
    """All namespaces except those that a test omits; a network namespace only if the host asks for it."""
    flags = linux.CLONE_NEWNET if request["network"] is not None else 0
    for name, flag in _NAMESPACES.items():
        if name not in request["without"]:
            flags |= flag
    return flags


def _shim(name):
    """The module with `attach` and `serve` that an instance runs."""
    if name == CUSTOM_SHIM:
        sys.path.insert(1, os.path.join(_RUNTIME, CUSTOM_SHIM))
        import monitor

        return monitor
    import bootstrap

    return bootstrap


class _Ended(object):
    """Learns which children have ended. SIGCHLD wakes the loop through a pipe."""

    def __init__(self):
        self._reading, self._writing = os.pipe()
        for fd in (self._reading, self._writing):
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._writing)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def wait(self, control):
        """Waits for a message or the end of a child. Returns True if there is a message on `control`."""
        return linux.readable([control, self._reading])[0]

    def reap(self):
        try:
            while os.read(self._reading, 512):
                continue
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINTR):
                raise
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except OSError as error:
                if error.errno == errno.ECHILD:
                    return
                raise
            if not pid:
                return
            yield pid, status

    def forget(self):
        """Called in a child: restores the signal handlers and closes the pipe."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.close(self._reading)
        os.close(self._writing)


def _json(**message):
    return json.dumps(message).encode("ascii")


def _resident_kb():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


if __name__ == "__main__":
    main(int(sys.argv[2]), _shim(sys.argv[1]))
