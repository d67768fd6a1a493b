"""Answers every connection and every datagram with what it said, behind the word that is given.

Run by tests/support/outside.py with the word and addresses; prints the ports of TCP and of UDP, the same at every
address. Ends with its standard input.
"""

import contextlib
import json
import selectors
import socket
import sys


def main(word: bytes, addresses: list[str]) -> None:
    chosen = selectors.DefaultSelector()
    ports = {"tcp": 0, "udp": 0}
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for kind, of in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
            made = socket.socket(family, of)
            made.bind((address, ports[kind]))
            if kind == "tcp":
                made.listen()
            ports[kind] = made.getsockname()[1]
            chosen.register(made, selectors.EVENT_READ, kind)
    chosen.register(sys.stdin, selectors.EVENT_READ, "end")
    print(json.dumps(ports), flush=True)
    while True:
        for key, _events in chosen.select():
            if key.data == "end":
                return
            assert isinstance(key.fileobj, socket.socket)
            # Whoever goes before it is answered has nothing to say to the others.
            with contextlib.suppress(OSError):
                answer(key.fileobj, key.data, word, chosen)


def answer(ready: socket.socket, kind: str, word: bytes, chosen: selectors.BaseSelector) -> None:
    if kind == "tcp":
        chosen.register(ready.accept()[0], selectors.EVENT_READ, "connection")
    elif kind == "udp":
        said, peer = ready.recvfrom(65_535)
        ready.sendto(word + b" " + said, peer)
    else:
        said = ready.recv(65_535)
        if said:
            ready.sendall(word + b" " + said)
        else:
            chosen.unregister(ready)
            ready.close()


if __name__ == "__main__":
    main(sys.argv[1].encode(), sys.argv[2:])
