"""Creates FUSE mounts for an ordinary user, in a small process that has its own user and mount namespaces.

Started by `jail.fuse_mounts` as described in `jail.namespace_process`. A request is `[read_only]`; the answer has the
descriptors of an open /dev/fuse and of its mount. A user may mount only in a namespace of their own, and only through a
device opened there. The process that serves the mounts stays outside that namespace, so that it sees processes of
descendant namespaces in /proc under the pids that the kernel reports to it.
"""

import os
from pathlib import Path

from sesame.sandbox.jail import mounts
from sesame.sandbox.jail.namespace_process import answer


def main() -> None:
    user, group = os.getuid(), os.getgid()
    try:
        mounts.own_namespaces()
        # Map every id to itself, so that the server of the mounts need not know about the namespace.
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    except OSError as error:
        refused = error

        def refuse(_read_only: bool) -> list[int]:
            raise OSError(f"a user namespace cannot be created: {refused}")

        answer(refuse)
    else:
        answer(lambda read_only: list(mounts.fuse((user, group), read_only=read_only)))


if __name__ == "__main__":
    main()
