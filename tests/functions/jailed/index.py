import json
import os
import socket
import sys
import time

HELD = []


def ticks(event, context):
    """Counts in the background, in a file, so that a frozen instance is seen to stand still."""
    import threading

    def count():
        n = 0
        while True:
            n += 1
            print('tick %d' % n)
            time.sleep(0.01)

    thread = threading.Thread(target=count)
    thread.daemon = True
    thread.start()
    return 'ticking'


def fill_tmp(event, context):
    """Writes so many MB to /tmp in files of 1 MB; returns how many fitted and what /tmp says of itself."""
    written = 0
    block = os.urandom(1024 * 1024)
    try:
        for number in range(int(event)):
            with open('/tmp/part%d' % number, 'wb') as file:
                file.write(block)
                file.flush()
            written += 1
    except (IOError, OSError) as error:
        return json.dumps({'written': written, 'errno': error.errno})
    return json.dumps({'written': written, 'errno': 0})


def listing(event, context):
    return json.dumps(sorted(os.listdir(event.decode('utf-8'))))


def write_file(event, context):
    path = event.decode('utf-8')
    with open(path, 'w') as file:
        file.write('x')
    return path


def hold(event, context):
    HELD.append(b'x' * (int(event) * 1024 * 1024))
    return str(sum(len(held) for held in HELD))


def forks(event, context):
    """Forks children that sleep, until the limit; returns how many there were."""
    made = 0
    for _ in range(int(event)):
        try:
            pid = os.fork()
        except OSError:
            break
        if pid == 0:
            while True:
                time.sleep(60)
        made += 1
    return str(made)


def who(event, context):
    import random
    import uuid
    return json.dumps({
        'pid': os.getpid(), 'uid': os.getuid(), 'gid': os.getgid(), 'host': socket.gethostname(),
        'random': random.random(), 'uuid': str(uuid.uuid4()), 'uuid1': str(uuid.uuid1()),
        'fds': sorted(int(fd) for fd in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + fd)),
        'status': dict(line.strip('\n').split(':\t', 1) for line in open('/proc/self/status') if ':\t' in line),
        'python': list(sys.version_info[:2]), 'flags': [sys.flags.no_site, sys.flags.ignore_environment],
    })


def import_from(event, context):
    """Imports a module, or loads a C library by its bare name."""
    import ctypes
    name = event.decode('utf-8')
    if name.endswith('.so'):
        return json.dumps(bool(ctypes.CDLL(name)))
    return json.dumps(__import__(name).__file__)


def resolve(event, context):
    import pwd
    return json.dumps([socket.gethostbyname('localhost'), pwd.getpwuid(os.getuid()).pw_dir,
                       os.path.exists('/etc/resolv.conf'), os.path.exists('/etc/ssl/certs') or os.path.exists('/etc/pki')])


def exits_at_once(event, context):
    os._exit(7)


def sleep(event, context):
    time.sleep(float(event))
    return 'slept'


def spin(event, context):
    """Processor seconds had in one wall second."""
    end, began = time.time() + float(event), os.times()
    while time.time() < end:
        pass
    now = os.times()
    return json.dumps(now[0] + now[1] - began[0] - began[1])


def names(event, context):
    """How the instance's own name and localhost resolve, forwards and back."""
    import platform
    name = socket.gethostname()
    with open('/etc/hostname') as file:
        written = file.read().strip()
    v6 = socket.getaddrinfo('localhost', 80, socket.AF_INET6)[0][4][0]
    server = socket.socket()
    server.bind((socket.gethostbyname(name), 0))
    return json.dumps([
        written == name, socket.gethostbyname(name), socket.getfqdn() == name, socket.gethostbyname('localhost'), v6,
        socket.gethostbyaddr('127.0.0.1')[0], os.access('/etc/hosts', os.W_OK), os.access('/run', os.W_OK),
        [info[4][0] for info in socket.getaddrinfo(name, 80, 0, socket.SOCK_STREAM)],
        [platform.node() == name, platform.uname()[1] == name, os.uname()[1] == name],
    ])
