import ctypes
import json
import os

KEEP = []


def handler(event, context):
    """Holds secrets in every place where an instance can hold some; says where."""
    secret = event.decode('utf-8')
    with open('/tmp/secret', 'w') as file:
        file.write(secret)
    with open('/dev/shm/secret', 'w') as file:
        file.write(secret)
    buffer = ctypes.create_string_buffer(secret.encode('ascii'))
    KEEP.append((buffer, context))
    libc = ctypes.CDLL(None, use_errno=True)
    shared = libc.shmget(0x5e5a, 4096, 0o1000 | 0o666)
    return json.dumps({'address': ctypes.addressof(buffer), 'size': len(secret), 'shared': shared, 'uid': os.getuid()})


def alive(event, context):
    return 'alive'


def number(event, context):
    """Somewhat busy: a neighbour whose throughput is watched."""
    return str(sum(range(100000)))
