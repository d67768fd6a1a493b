"""A command inside a running instance: within its walls, beside the function, with its user and nothing more.

Entered by zygote.py in a fork that still has every privilege; asked for by sandbox/jail/exec.py (docs/jail.md).
Never reads what the command does, and never ends before the last process that descends from the command has ended.

Three processes: the usher stays outside, waits, and ends as the keeper did; the keeper, inside, reaps and ends the
session; the command is the keeper's child. The keeper says the exit code on its socket, as text, and ends when the
host hangs that socket up.
"""

import errno
import fcntl
import json
import os
import select
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

    # SAFETY: 1. The usher dies with the zygote; only its children enter the instance's pid namespace.
    os.setsid()
    steps.die_with(lifeline)
    os.close(control)
    order = json.loads(linux.Packets(fds[request["order"]], _PACKET_BYTES).receive()[0].decode("utf-8"))
    linux.setns(fds[request["init"]], linux.CLONE_NEWPID)

    # SAFETY: 2. The keeper is born in the instance's cgroup of version 2, and joins those of version 1.
    cgroup = request["cgroup"]
    watching, usher = os.pipe()
    keeper, _pidfd = linux.clone(0, fds[cgroup] if cgroup >= 0 else -1)
    if keeper:
        for fd in list(fds) + [watching, lifeline]:
            os.close(fd)
        os._exit(_code(_wait(keeper)))
    os.close(usher)
    os.close(lifeline)
    for index in request["tasks"]:
        os.write(fds[index], b"0")
    _keep(request, order, fds, watching)


def _keep(request, order, fds, watching):
    # SAFETY: 3. It offers itself first when memory runs out, then enters the instance's other namespaces.
    steps.write_control("/proc/self/oom_score_adj", steps.OOM_SCORE)
    linux.setns(fds[request["init"]], _INSIDE)
    os.chdir("/")

    # SAFETY: 4. It gives up what the function's process gave up, in the same order, and dies with the usher.
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
    wake = linux.descriptor_of_signal(signal.SIGCHLD)
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
            # The host is not listening any more, which is why it ended.
            if error.errno != errno.EPIPE:
                raise
    os._exit(0)


def _become(order, stdio, keeper):
    """In the command's process. Whatever fails is written to its error output, with the codes that shells use."""
    code = NOT_FOUND
    try:
        # SAFETY: 5. The command gets a session, descriptors and an environment of its own, and dies with the keeper.
        linux.unblock(signal.SIGCHLD)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        linux.prctl(linux.PR_SET_DUMPABLE, 1)
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        # None of them is one of the three: those are open in a zygote.
        for target, fd in enumerate(stdio):
            os.dup2(fd, target)
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2:
                try:
                    os.close(int(name))
                except OSError as error:
                    # The listing's own.
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
    """Reaps until the command has ended, and gives its status; None when the host hung up before."""
    while True:
        try:
            ready = select.select([alive, wake], [], [])[0]
        except (OSError, select.error) as error:
            # Python 2 does not go on waiting after a signal (PEP 475).
            if error.args[0] != errno.EINTR:
                raise
            continue
        if wake in ready:
            # One signal of its kind waits at most, however many children have ended.
            os.read(wake, 512)
        for pid, status in _ended(os.WNOHANG):
            if pid == command:
                return status
        if alive in ready:
            return None


def _end_all():
    """Kills every descendant: whose parent has ended becomes a child of this process, which is their reaper."""
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
    """What a shell makes of it."""
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _native(text):
    return text.encode("utf-8") if sys.version_info[0] == 2 else text
