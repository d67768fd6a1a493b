"""Makes user namespaces that map ids, in a small process of its own, because making one takes a fork.

Started by `jail.idmaps` with the socket as its only argument; ends with it. Each request is a line of JSON,
`[uid_map, gid_map]`; the answer is one byte and the descriptor of the namespace, or the error's text.
"""

import array
import ctypes
import json
import os
import socket
import sys

REQUEST_BYTES = 4096
_CLONE_NEWUSER = 0x10000000


def main() -> None:
    requests = socket.socket(fileno=int(sys.argv[1]))
    unshare = ctypes.CDLL(None, use_errno=True).unshare
    while request := _received(requests):
        try:
            fd = _namespace(unshare, *json.loads(request))
        except OSError as error:
            requests.send(f"-{error}".encode())
            continue
        requests.sendmsg([b"+"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
        os.close(fd)


def _received(requests: socket.socket) -> bytes:
    """Empty at the end, which is a reset where Sesame was killed before it had taken an answer."""
    try:
        return requests.recv(REQUEST_BYTES)
    except ConnectionResetError:
        return b""


def _namespace(unshare: "ctypes._NamedFuncPointer", uid_map: str, gid_map: str) -> int:
    """A descriptor of a namespace with these maps; it needs no process once it is open."""
    child_reads, go = os.pipe()
    reads, child_writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        os.write(child_writes, b"0" if unshare(_CLONE_NEWUSER) == 0 else b"1")
        os.read(child_reads, 1)
        os._exit(0)
    os.close(child_reads)
    os.close(child_writes)
    try:
        if os.read(reads, 1) != b"0":
            raise OSError("unshare: a user namespace cannot be made")
        for name, text in (("uid_map", uid_map), ("gid_map", gid_map)):
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write(text)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(go)
        os.close(reads)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
