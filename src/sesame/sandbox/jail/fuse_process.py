"""Makes FUSE mounts for an ordinary user, in a small process of its own, which has a user and a mount namespace.

Started by `jail.fuse_mounts`, as `jail.namespace_process` says. A request is `[read_only]`; the answer has an open
/dev/fuse and a mount that whoever serves it fills. Only in a namespace of his own may a user mount, and only through a
device that was opened there. Who serves it is no part of that namespace: then /proc tells him of processes whose
namespaces are below his own, and has their numbers as he knows them.
"""

import os
from pathlib import Path

from sesame.sandbox.jail import mounts
from sesame.sandbox.jail.namespace_process import answer


def main() -> None:
    user, group = os.getuid(), os.getgid()
    try:
        mounts.own_namespaces()
        # Every id keeps its number, so that whoever serves the mounts need not know of the namespace.
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    except OSError as error:
        refused = error

        def refuse(_read_only: bool) -> list[int]:
            raise OSError(f"no user namespace can be made: {refused}")

        answer(refuse)
    else:
        answer(lambda read_only: list(mounts.fuse((user, group), read_only=read_only)))


if __name__ == "__main__":
    main()
