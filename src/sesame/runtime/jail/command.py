"""Runs a command in a running instance, isolated like the function and as its user (docs/jail.md).

Entered by zygote.py in a fork that still has all privileges, for a request of sandbox/jail/exec.py.

There are three processes: the monitor stays outside, waits, and exits like the session leader; the session leader,
inside, reaps processes and ends the session; the command is its child. When the command's last descendant has ended,
the session leader writes the exit code as text to its socket; when the host closes that socket, it ends the session.
"""

import errno
import fcntl
import json
import os
import signal
import sys
import termios
import traceback

import steps
import linux

NOT_FOUND, NOT_EXECUTABLE = 127, 126
_INSIDE = linux.CLONE_NEWNS | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS | linux.CLONE_NEWCGROUP
_PACKET_BYTES = 64 * 1024


def enter(request, fds, inherited):
    """Does not return. `inherited` are the zygote's control socket and the reading end of its lifeline."""
    try:
        _enter(request, fds, inherited)
    except BaseException:
        os.write(fds[request["stdio"][2]], traceback.format_exc().encode("utf-8"))
        os.write(fds[request["alive"]], str(steps.EXIT_JAIL_FAILED).encode("ascii"))
    finally:
        os._exit(steps.EXIT_JAIL_FAILED)


def _enter(request, fds, inherited):
    control, lifeline = inherited

    # SAFETY: 1. The monitor dies with the zygote; only its children enter the instance's pid namespace.
    os.setsid()
    steps.die_with(lifeline)
    os.close(control)
    order = json.loads(linux.Packets(fds[request["order"]], _PACKET_BYTES).receive()[0].decode("utf-8"))
    linux.setns(fds[request["init"]], linux.CLONE_NEWPID)

    # SAFETY: 2. The session leader is born in the instance's cgroup of version 2, and joins those of version 1.
    cgroup = request["cgroup"]
    watching, monitor = os.pipe()
    leader, _pidfd = linux.clone(0, fds[cgroup] if cgroup >= 0 else -1)
    if leader:
        for fd in list(fds) + [watching, lifeline]:
            os.close(fd)
        os._exit(_code(_wait(leader)))
    os.close(monitor)
    os.close(lifeline)
    for index in request["tasks"]:
        os.write(fds[index], b"0")
    _lead(request, order, fds, watching)


def _lead(request, order, fds, watching):
    # SAFETY: 3. It offers itself first when memory runs out, then enters the instance's other namespaces.
    linux.write_control("/proc/self/oom_score_adj", steps.OOM_SCORE)
    linux.setns(fds[request["init"]], _INSIDE | (linux.CLONE_NEWNET if request["own_network"] else 0))
    os.chdir("/")

    # SAFETY: 4. It gives up what the function's process gave up, in the same order, and dies with the monitor.
    steps.set_limits(request["limits"])
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    steps.give_up_privileges(request)
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    steps.die_with(watching)

    stdio = [fds[index] for index in request["stdio"]]
    alive = fds[request["alive"]]
    for fd in fds:
        if fd != alive and fd not in stdio:
            os.close(fd)
    wake = linux.descriptor_of_signals([signal.SIGCHLD])
    command = os.fork()
    if not command:
        _become(order, stdio, watching)
    for fd in set(stdio):
        os.close(fd)
    status = _watch(command, alive, wake)
    code = b"" if status is None else str(_code(status)).encode("ascii")
    _end_all()
    if code:
        try:
            os.write(alive, code)
        except OSError as error:
            # The host has closed its end, which is why the session is ending.
            if error.errno != errno.EPIPE:
                raise
    os._exit(0)


def _become(order, stdio, watching):
    """Runs in the command's process. A failure is written to stderr, and exits with the code that shells use."""
    code = NOT_FOUND
    try:
        # SAFETY: 5. The command gets a session, descriptors and an environment, and dies with the session leader.
        linux.unblock([signal.SIGCHLD])
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        linux.prctl(linux.PR_SET_DUMPABLE, 1)
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        # The zygote has 0, 1 and 2 open, so none of these is in `stdio`.
        for target, fd in enumerate(stdio):
            os.dup2(fd, target)
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2:
                try:
                    os.close(int(name))
                except OSError as error:
                    # This is the descriptor of the listing itself.
                    if error.errno != errno.EBADF:
                        raise
        if order["tty"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.chdir(order["cwd"])
        argv = [_native(argument) for argument in order["argv"]]
        environment = {_native(name): _native(value) for name, value in order["environment"].items()}
        os.execvpe(argv[0], argv, environment)
    except (OSError, ValueError) as error:
        code = NOT_FOUND if getattr(error, "errno", None) == errno.ENOENT else NOT_EXECUTABLE
        os.write(2, ("cannot run %s: %s\n" % (order["argv"][0], error)).encode("utf-8"))
    finally:
        os._exit(code)


def _watch(command, alive, wake):
    """Reaps until the command has ended, and returns its status; None if the host closes its socket first."""
    while True:
        hung_up, woken = linux.readable([alive, wake])
        if woken:
            # At most one signal is pending, however many children have ended.
            os.read(wake, 512)
        for pid, status in _ended(os.WNOHANG):
            if pid == command:
                return status
        if hung_up:
            return None


def _end_all():
    """Kills every descendant. Orphans become children of this process, which is their subreaper."""
    while True:
        for pid in _children():
            os.kill(pid, signal.SIGKILL)
        try:
            os.wait()
        except OSError as error:
            if error.errno == errno.ECHILD:
                return
            if error.errno != errno.EINTR:
                raise


def _children():
    with open("/proc/self/task/%d/children" % os.getpid()) as listed:
        return [int(pid) for pid in listed.read().split()]


def _ended(options):
    while True:
        try:
            pid, status = os.waitpid(-1, options)
        except OSError as error:
            if error.errno == errno.EINTR:
                continue
            if error.errno == errno.ECHILD:
                return
            raise
        if not pid:
            return
        yield pid, status


def _wait(pid):
    while True:
        try:
            return os.waitpid(pid, 0)[1]
        except OSError as error:
            if error.errno != errno.EINTR:
                raise


def _code(status):
    """The exit code as a shell reports it."""
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _native(text):
    return text.encode("utf-8") if sys.version_info[0] == 2 else text
