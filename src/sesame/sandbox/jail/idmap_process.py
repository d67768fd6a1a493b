"""Creates user namespaces that map ids, in a small process of its own, because creating one takes a fork.

Started by `jail.idmaps` as described in `jail.namespace_process`. A request is `[uid_map, gid_map]`; the answer has the
namespace's descriptor.
"""

import ctypes
import os

from sesame.sandbox.jail.namespace_process import answer

_CLONE_NEWUSER = 0x10000000


def main() -> None:
    unshare = ctypes.CDLL(None, use_errno=True).unshare
    answer(lambda uid_map, gid_map: [_namespace(unshare, uid_map, gid_map)])


def _namespace(unshare: "ctypes._NamedFuncPointer", uid_map: str, gid_map: str) -> int:
    """A descriptor of a namespace with these maps; once opened, it needs no process."""
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
            raise OSError("unshare: a user namespace cannot be created")
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
