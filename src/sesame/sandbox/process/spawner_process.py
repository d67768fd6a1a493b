"""The spawner process: forks instances, reports their deaths, and lets none of them outlive Sesame.

Started by spawner.py as `python -I -S -E spawner_process.py CONTROL_FD`. A separate process, because it must continue
when Sesame is killed. Imports nothing of Sesame, and keeps nothing of a tenant after its start request.
"""

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import termios
import time
from typing import Any, NoReturn

COOKIE = "FC_INSTANCE_ID"
# Set for commands in an instance, so that their processes are attributed to the command first.
COMMAND_COOKIE = "SESAME_COMMAND_ID"
SOCKET_FD = 3

_LINUX = sys.platform.startswith("linux")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_RETRY_S = 0.002
_SWEEP_S = 0.5
_LAST_WORK_S = 10.0
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# macOS reports no limit on open files, but refuses a higher one than this.
_FILES_ELSEWHERE = 10240
# A function may open this fraction of the server's limit, but at least so many files.
_FILES_SHARE, _FILES_MIN = 4, 1024
_SIZE = struct.Struct(">I")


class Instance:
    """The main process of one start request. It leads a session and a process group with the id `pid`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.running = True
        self.killing = False


class Spawner:
    """Single-threaded: handles messages, deaths and timers one after the other."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._instances: dict[str, Instance] = {}
        self._by_pid: dict[int, Instance] = {}
        self._received = bytearray()
        self._fds: list[int] = []
        self._pending = bytearray()

    def run(self) -> None:
        """Runs until the control socket closes; on return no descendant is left."""
        wake = _signals_as_bytes()
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        while True:
            poll.register(self._control, select.POLLIN | (select.POLLOUT if self._pending else 0))
            for fd, events in poll.poll(self._patience_ms()):
                if fd == wake:
                    os.read(wake, 4096)
                elif events & ~select.POLLOUT and not self._receive():
                    self._end()
                    return
            self._reap()
            self._go_on_killing()
            self._flush()

    def _patience_ms(self) -> float | None:
        if any(i.killing for i in self._instances.values()):
            return _RETRY_S * 1000
        # Any other child is an orphan, to be killed after its instance has ended.
        return _SWEEP_S * 1000 if _LINUX and set(_children(os.getpid())) - set(self._by_pid) else None

    # Requests

    def _receive(self) -> bool:
        try:
            data, ancillary, _flags, _address = self._control.recvmsg(
                65536, socket.CMSG_SPACE(16 * 4), getattr(socket, "MSG_CMSG_CLOEXEC", 0)
            )
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        for level, kind, raw in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = [int.from_bytes(raw[i : i + 4], sys.byteorder) for i in range(0, len(raw) - len(raw) % 4, 4)]
                for fd in fds:
                    os.set_inheritable(fd, False)
                self._fds.extend(fds)
        if not data:
            return False
        self._received += data
        while len(self._received) >= 4:
            size = _SIZE.unpack_from(self._received)[0]
            if size > _MAX_MESSAGE_BYTES:
                return False
            if len(self._received) < 4 + size:
                break
            message = json.loads(bytes(self._received[4 : 4 + size]))
            del self._received[: 4 + size]
            self._obey(message)
        return True

    def _obey(self, message: dict[str, Any]) -> None:
        name = message["id"]
        if message["op"] == "spawn":
            # Descriptors arrive with the first bytes of their message, so they are the oldest ones.
            count = 3 if message["command"] else 2
            fds, self._fds = self._fds[:count], self._fds[count:]
            self._spawn(message, fds)
            return
        instance = self._instances.get(name)
        if message["op"] == "kill":
            if instance is None:
                self._tell({"event": "gone", "id": name})
            else:
                instance.killing = True
        elif instance is not None and instance.running and message["group"] and _LINUX:
            for pid in self._victims(name, instance):
                _send_signal(pid, message["signal"], group=False)
        elif instance is not None and instance.running:
            _send_signal(instance.pid, message["signal"], group=message["group"])

    def _spawn(self, message: dict[str, Any], fds: list[int]) -> None:
        name, parent = message["id"], os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            for fd in fds:
                os.close(fd)
            self._tell({"event": "failed", "id": name, "error": str(error)})
            return
        if pid == 0:
            _become(message, fds, parent)
        for fd in fds:
            os.close(fd)
        self._instances[name] = self._by_pid[pid] = Instance(pid)
        self._tell({"event": "spawned", "id": name, "pid": pid})

    # Deaths

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            instance = self._by_pid.pop(pid, None)
            if instance is not None:
                instance.running = False
                name = next(n for n, i in self._instances.items() if i is instance)
                self._tell({"event": "exited", "id": name, "status": status})

    def _go_on_killing(self) -> None:
        for name, instance in [(n, i) for n, i in self._instances.items() if i.killing]:
            if instance.running or not _LINUX:
                _send_signal(instance.pid, signal.SIGKILL, group=True)
            left = self._victims(name, instance)
            for pid in left:
                _send_signal(pid, signal.SIGKILL, group=False)
            if not left and not instance.running:
                del self._instances[name]
                self._tell({"event": "gone", "id": name})
        if _LINUX:
            self._sweep()

    def _victims(self, name: str, instance: Instance) -> list[int]:
        """Every process of the instance: the tree of its main process, and orphans with its session or its cookie."""
        if not _LINUX:
            return [instance.pid] if instance.running else []
        roots = [instance.pid] if instance.running else []
        for pid in _children(os.getpid()):
            if pid not in self._by_pid and _belongs(pid, instance.pid, name):
                roots.append(pid)
        return _trees(roots)

    def _sweep(self) -> None:
        """Kills orphans that belong to no instance; those without a cookie only once there are no instances."""
        sessions = {instance.pid for instance in self._instances.values()}
        for pid in _children(os.getpid()):
            if pid in self._by_pid or _session(pid) in sessions:
                continue
            owner = _cookie(pid)
            if owner not in self._instances and (owner or not self._instances):
                for victim in _trees([pid]):
                    _send_signal(victim, signal.SIGKILL, group=False)

    def _end(self) -> None:
        """Kills all descendants and waits for the last one."""
        deadline = time.monotonic() + _LAST_WORK_S
        while time.monotonic() < deadline:
            for pid in list(self._by_pid):
                _send_signal(pid, signal.SIGKILL, group=True)
            for pid in _trees(_children(os.getpid())) if _LINUX else ():
                _send_signal(pid, signal.SIGKILL, group=False)
            try:
                pid, _status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            self._by_pid.pop(pid, None)
            if pid == 0:
                time.sleep(_RETRY_S)

    # Reports

    def _tell(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode()
        self._pending += _SIZE.pack(len(data)) + data

    def _flush(self) -> None:
        while self._pending:
            try:
                sent = self._control.send(self._pending)
            except BlockingIOError:
                return
            except ConnectionError:
                # The next poll reports that the socket has closed, and cleanup happens there.
                self._pending.clear()
                return
            del self._pending[:sent]


def _become(message: dict[str, Any], fds: list[int], parent: int) -> NoReturn:
    """Runs in the child: becomes the instance. Failures are written to its output, which the host reads."""
    code = 127
    try:
        os.setsid()
        if message["command"]:
            _take_streams(fds, tty=message["tty"])
        else:
            _take_socket(fds[0], fds[1])
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for name, wanted in message["limits"].items():
            _limit(getattr(resource, name), wanted)
        if _LINUX:
            # When the machine runs out of memory, the kernel should kill instances before Sesame.
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(127)
        os.chdir(message["cwd"])
        run = os.execvpe if message["command"] else os.execve
        run(message["argv"][0], message["argv"], message["env"])
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        # The shell's exit code for a file that exists but cannot be run.
        code = 127 if not isinstance(error, PermissionError) else 126
        os.write(2, f"cannot {'run' if message['command'] else 'start'} {message['argv'][0]}: {error}\n".encode())
    finally:
        os._exit(code)


def _take_socket(sock: int, output: int) -> None:
    for fd in (1, 2):
        os.dup2(output, fd)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if sock == SOCKET_FD:
        os.set_inheritable(sock, True)
    else:
        os.dup2(sock, SOCKET_FD)


def _take_streams(fds: list[int], *, tty: bool) -> None:
    """`fds` are never 0, 1 or 2, which are open in a spawner. All other descriptors close on exec."""
    for target, fd in enumerate(fds):
        os.dup2(fd, target)
    if tty:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _limit(which: int, wanted: int) -> None:
    _soft, hard = resource.getrlimit(which)
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if which == resource.RLIMIT_NOFILE:
        if hard != resource.RLIM_INFINITY:
            # Well below the server's own limit, which a function must not exhaust by opening connections to it.
            value = min(value, max(hard // _FILES_SHARE, _FILES_MIN))
        if not _LINUX:
            value = min(value, _FILES_ELSEWHERE)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def _send_signal(pid: int, number: int, *, group: bool) -> None:
    try:
        if group:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        # The process has already ended, which is reported as usual.
        return
    except PermissionError:
        # On macOS this means a zombie; on Linux, a process that changed its user. The caller retries.
        return


def _trees(roots: list[int]) -> list[int]:
    """The processes in `roots` and all their descendants, except zombies."""
    found, ahead = [], list(roots)
    while ahead:
        pid = ahead.pop()
        if _state(pid) not in ("Z", "X", ""):
            found.append(pid)
        ahead.extend(_children(pid))
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return children
    for thread in threads:
        children.extend(int(p) for p in _text(f"/proc/{pid}/task/{thread}/children").split())
    return children


def _belongs(pid: int, session: int, name: str) -> bool:
    return _session(pid) == session or _cookie(pid) == name


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _cookie(pid: int) -> str:
    found = dict(entry.partition("=")[::2] for entry in _text(f"/proc/{pid}/environ").split("\0"))
    return found.get(COMMAND_COOKIE) or found.get(COOKIE, "")


def _state(pid: int) -> str:
    return _text(f"/proc/{pid}/stat").rpartition(") ")[2][:1]


def _text(path: str) -> str:
    """The text of a /proc file; "" if the process has ended."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _signals_as_bytes() -> int:
    """A pipe that becomes readable at each signal, SIGCHLD above all."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    # Sesame handles Ctrl-C and a closing terminal; it hangs up when it has finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return reading


def main() -> None:
    """Entry point of the process."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.setblocking(False)
    os.set_inheritable(control.fileno(), False)
    os.chdir("/")
    if _LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    Spawner(control).run()


if __name__ == "__main__":
    main()
