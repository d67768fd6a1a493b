"""Relays between its standard streams and a port of the instance's loopback, until either side closes.

    python -S -E debug_relay.py PORT

Run by engine/debugging.py as a command in an instance, so that a debugger on the host can reach debugpy in any instance
network; Python 2.7 and 3.6+.
"""

import os
import select
import socket
import sys

_PIECE_BYTES = 64 * 1024


def _relay(sock):
    sources = [sock, 0]
    while True:
        readable, _writable, _failed = select.select(sources, [], [])
        if sock in readable:
            data = sock.recv(_PIECE_BYTES)
            if not data:
                return
            while data:
                data = data[os.write(1, data) :]
        if 0 in readable:
            data = os.read(0, _PIECE_BYTES)
            if data:
                sock.sendall(data)
            else:
                return


if __name__ == "__main__":
    _relay(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
