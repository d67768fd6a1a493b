"""The protocol between Sesame and its bucket process: JSON messages on a socket that preserves message boundaries.

Sesame asks the process to serve a mount (passing its /dev/fuse), updates keys, ends mounts, and checks that it still
responds. The process reports that serving has begun or ended, passes the remote ends of new connections to object
storage, and logs errors that no process waits for.
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
    """The next message, with the descriptor it carried, if any; None once the other end has closed.

    Raises `BlockingIOError` if there is no message.
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
