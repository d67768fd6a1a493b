"""Linux system calls, through ctypes, that the standard library of Python 2.7 (and largely of 3.x before 3.12) lacks.

Used by root.py, zygote.py, steps.py and init.py. Each function is one call; a failure raises an OSError that names it.
"""

import array
import ctypes
import errno
import os
import select
import socket
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_PIDFD = 0x00001000
CLONE_INTO_CGROUP = 0x200000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE, MS_SLAVE = 4096, 8192, 16384, 1 << 18, 1 << 19
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522

_RLIMIT_NPROC = 6
_SIGCHLD = 17
_SIG_BLOCK, _SIG_UNBLOCK = 0, 1
_SIGSET_BYTES = 128
_SFD_NONBLOCK, _SFD_CLOEXEC = 0x800, 0x80000
_AT_FDCWD = -100
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MSG_CMSG_CLOEXEC = 0x40000000
_MSG_TRUNC, _MSG_CTRUNC = 0x20, 0x8
_MAX_FDS = 64

# System call numbers, the same on every supported architecture except for pivot_root.
_SYS_CLONE3, _SYS_MOVE_MOUNT = 435, 429
_SYS_LANDLOCK_CREATE, _SYS_LANDLOCK_RESTRICT = 444, 446
# Abstract unix sockets, and signals.
_LANDLOCK_SCOPES = 1 | 2
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

# PyDLL does not release the GIL. After a raw clone there is only this thread, so no other could give it back.
_libc = ctypes.PyDLL(None, use_errno=True)


def machine():
    """`x86_64` or `aarch64`, as named by the kernel.

    `platform.machine` would cache the host's name, and a function's `platform.node()` would return it.
    """
    return os.uname()[4]


def clone(flags, cgroup_fd=-1):
    """Forks into new namespaces. Returns (0, -1) in the child and (pid, pidfd) in the parent.

    Unlike os.fork() this runs no hooks of the interpreter. Use it only in a single-threaded process whose child forks
    properly before any foreign code runs. With `cgroup_fd` the child is created in that (version 2) cgroup.
    """
    pidfd = ctypes.c_int(-1)
    flags |= CLONE_PIDFD
    if cgroup_fd >= 0:
        flags |= CLONE_INTO_CGROUP
    arguments = struct.pack(
        "<11Q", flags, ctypes.addressof(pidfd), 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, cgroup_fd if cgroup_fd >= 0 else 0
    )
    pid = _libc.syscall(ctypes.c_long(_SYS_CLONE3), arguments, ctypes.c_size_t(len(arguments)))
    if pid < 0:
        _fail("clone3")
    return pid, pidfd.value


def unshare(flags):
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd, flags):
    """Enters namespaces of the process behind a pidfd. Only later children enter its pid namespace."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(flags)), "setns")


def descriptor_of_signals(numbers):
    """A descriptor that becomes readable when one of the signals arrives. Blocks the signals until `unblock`.

    The interpreter's own handlers do not run in a process created by `clone`, because older interpreters first compare
    the process id with a cached one.
    """
    signals = _signals(numbers)
    flags = ctypes.c_int(_SFD_CLOEXEC | _SFD_NONBLOCK)
    _check(_libc.sigprocmask(ctypes.c_int(_SIG_BLOCK), signals, None), "sigprocmask")
    return _check(_libc.signalfd(ctypes.c_int(-1), signals, flags), "signalfd")


def unblock(numbers):
    _check(_libc.sigprocmask(ctypes.c_int(_SIG_UNBLOCK), _signals(numbers), None), "sigprocmask")


def _signals(numbers):
    signals = ctypes.create_string_buffer(_SIGSET_BYTES)
    _check(_libc.sigemptyset(signals), "sigemptyset")
    for number in numbers:
        _check(_libc.sigaddset(signals, ctypes.c_int(number)), "sigaddset")
    return signals


def mount(source, target, kind=None, flags=0, options=None):
    _check(
        _libc.mount(_path(source), _path(target), _path(kind), ctypes.c_ulong(flags), _path(options)),
        "mount %s" % target,
    )


def escaped(path):
    """The path with colons and commas escaped, which are separators in mount options."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def move_mount(fd, target):
    """Attaches a detached mount, given as a descriptor, at `target`."""
    _check(
        _libc.syscall(
            ctypes.c_long(_SYS_MOVE_MOUNT),
            ctypes.c_int(fd),
            b"",
            ctypes.c_int(_AT_FDCWD),
            _path(target),
            ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH),
        ),
        "move_mount %s" % target,
    )


def umount(target, flags=0):
    _check(_libc.umount2(_path(target), ctypes.c_int(flags)), "umount %s" % target)


def pivot_root(new, old):
    _check(
        _libc.syscall(ctypes.c_long(_SYS_PIVOT_ROOT[machine()]), _path(new), _path(old)),
        "pivot_root",
    )


def sethostname(name):
    data = name.encode("ascii")
    _check(_libc.sethostname(data, ctypes.c_size_t(len(data))), "sethostname")


def prctl(option, value=0, third=0):
    """Returns the kernel's result."""
    return _check(
        _libc.prctl(
            ctypes.c_int(option),
            ctypes.c_ulong(value),
            ctypes.c_ulong(third),
            ctypes.c_ulong(0),
            ctypes.c_ulong(0),
        ),
        "prctl %d" % option,
    )


def limit_processes(pid, number):
    """Prevents a process from creating processes or threads while its user has at least `number` of them."""
    limits = struct.pack("=QQ", number, number)
    _check(_libc.prlimit(ctypes.c_int(pid), ctypes.c_int(_RLIMIT_NPROC), limits, None), "prlimit")


def drop_bounding_set():
    """Prevents all programs executed from now on from gaining capabilities."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    for capability in range(last + 1):
        prctl(PR_CAPBSET_DROP, capability)


def clear_capabilities():
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, struct.pack("=6I", 0, 0, 0, 0, 0, 0)), "capset")


def seccomp_program(data):
    """Keeps the filter in memory; returns the argument for `load_seccomp`."""
    code = ctypes.create_string_buffer(data, len(data))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(data) // 8, ctypes.addressof(code)))
    return code, program


def load_seccomp(prepared):
    _check(
        _libc.prctl(
            ctypes.c_int(PR_SET_SECCOMP),
            ctypes.c_ulong(_SECCOMP_MODE_FILTER),
            ctypes.c_void_p(ctypes.addressof(prepared[1])),
            ctypes.c_ulong(0),
            ctypes.c_ulong(0),
        ),
        "seccomp",
    )


def landlock_scope():
    """Denies access to abstract sockets and signals outside. Returns False if the kernel lacks this (before 6.12)."""
    if _libc.syscall(ctypes.c_long(_SYS_LANDLOCK_CREATE), None, ctypes.c_size_t(0), ctypes.c_uint(1)) < 6:
        return False
    rules = struct.pack("=3Q", 0, 0, _LANDLOCK_SCOPES)
    fd = _check(
        _libc.syscall(ctypes.c_long(_SYS_LANDLOCK_CREATE), rules, ctypes.c_size_t(len(rules)), ctypes.c_uint(0)),
        "landlock_create_ruleset",
    )
    try:
        _check(
            _libc.syscall(ctypes.c_long(_SYS_LANDLOCK_RESTRICT), ctypes.c_int(fd), ctypes.c_uint(0)),
            "landlock_restrict_self",
        )
    finally:
        os.close(fd)
    return True


def write_control(path, text):
    """Writes to a control file of the kernel, which takes its value in one write."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)


def readable(fds, wait=True):
    """Whether each descriptor is readable or at its end; waits until one is, whatever signals arrive meanwhile.

    Does not use `select`, which rejects numbers from 1,024 on: the host may have that many connections open.
    """
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    while True:
        try:
            ready = dict(poll.poll(None if wait else 0))
        except (OSError, select.error) as error:
            # Python 2 does not resume waiting after a signal (PEP 475).
            if error.args[0] != errno.EINTR:
                raise
        else:
            return [fd in ready for fd in fds]


def packet_pair():
    """Two connected sockets that preserve message boundaries."""
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        return os.dup(first.fileno()), os.dup(second.fileno())
    finally:
        first.close()
        second.close()


class _IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class _Message(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_len", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_IoVec)),
        ("iov_len", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_len", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


_CMSG = struct.Struct("@Nii") if str is not bytes else struct.Struct("@Lii")


class Packets(object):
    """Messages with descriptors over a SOCK_SEQPACKET socket, in one reused buffer."""

    def __init__(self, fd, size):
        self._fd = fd
        self._buffer = ctypes.create_string_buffer(size)
        self._control = ctypes.create_string_buffer(_CMSG.size + 8 + 4 * _MAX_FDS)

    def receive(self):
        """Returns (message, [descriptors]); an empty message at the end of the stream.

        Descriptors are close-on-exec.
        """
        # Wait here, so that other threads can run: `recvmsg` holds the GIL, which they would request 200 times a
        # second.
        readable([self._fd])
        message, iov = self._message(self._buffer, len(self._buffer), self._control, len(self._control))
        flags = ctypes.c_int(_MSG_CMSG_CLOEXEC)
        got = _again(lambda: _libc.recvmsg(ctypes.c_int(self._fd), ctypes.byref(message), flags), "recvmsg")
        fds = array.array("i")
        if message.control_len >= _CMSG.size:
            length, level, kind = _CMSG.unpack_from(self._control.raw)
            if level == socket.SOL_SOCKET and kind == 1:
                data = self._control.raw[_CMSG.size : length]
                (fds.frombytes if hasattr(fds, "frombytes") else fds.fromstring)(data)
        if message.flags & (_MSG_TRUNC | _MSG_CTRUNC):
            for fd in fds:
                os.close(fd)
            raise OSError(90, "recvmsg: a request of more than %d bytes" % len(self._buffer))
        return ctypes.string_at(self._buffer, got), list(fds)

    def send(self, data, fds=()):
        buffer = ctypes.create_string_buffer(data, len(data))
        control, size = None, 0
        if fds:
            payload = struct.pack("@%di" % len(fds), *fds)
            padding = b"\0" * (-len(payload) % 8)
            control = ctypes.create_string_buffer(
                _CMSG.pack(_CMSG.size + len(payload), socket.SOL_SOCKET, 1) + payload + padding
            )
            size = _CMSG.size + len(payload) + len(padding)
        message, iov = self._message(buffer, len(data), control, size)
        _again(lambda: _libc.sendmsg(ctypes.c_int(self._fd), ctypes.byref(message), ctypes.c_int(0)), "sendmsg")

    @staticmethod
    def _message(buffer, length, control, control_len):
        iov = _IoVec(ctypes.addressof(buffer), length)
        address = ctypes.addressof(control) if control is not None else None
        return _Message(None, 0, ctypes.pointer(iov), 1, address, control_len, 0), iov


def _path(text):
    if text is None or isinstance(text, bytes):
        return text
    return os.fsencode(text) if hasattr(os, "fsencode") else text.encode("utf-8")


def _check(result, call):
    if result < 0:
        _fail(call)
    return result


def _again(attempt, call):
    """Repeats a call that was interrupted by a signal."""
    while True:
        result = attempt()
        if result >= 0 or ctypes.get_errno() != errno.EINTR:
            return _check(result, call)


def _fail(call):
    number = ctypes.get_errno()
    raise OSError(number, "%s: %s" % (call, os.strerror(number)))
