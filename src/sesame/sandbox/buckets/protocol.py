"""What Sesame and its process for buckets tell each other: messages of JSON on a socket that keeps them apart.

Sesame asks for a mount to be served (with its /dev/fuse), gives newer keys, ends it, and asks whether the process still
answers. The process answers how serving began and that it has ended, hands over its ends of connections to object
storage, and says what went wrong where nobody waits for it.
"""

import os
import socket
from typing import Any

import msgspec

MESSAGE_BYTES_MAX = 64 * 1024
SERVE, KEYS, END, PING = "serve", "keys", "end", "ping"
SERVED, ENDED, CONNECT, LOG, PONG = "served", "ended", "connect", "log", "pong"

_decode = msgspec.json.Decoder(dict[str, Any]).decode
encode = msgspec.json.Encoder().encode


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message, and the descriptor that came with it if any; None once the other end is gone.

    Raises `BlockingIOError`.
    """
    try:
        data, fds, _flags, _address = socket.recv_fds(channel, MESSAGE_BYTES_MAX, 1)
    except BlockingIOError:
        raise
    except OSError:
        return None
    for fd in fds:
        os.set_inheritable(fd, False)
    return (_decode(data), fds) if data else None
