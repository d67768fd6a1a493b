"""The process that serves mounted buckets as files, for all instances of one Sesame; ends with Sesame.

`buckets.server` starts it with two arguments: its socket's descriptor and the folder for drafts. It holds no keys other
than those it was given for each mount, and never follows a path chosen by a function on this machine.
"""

import asyncio
import contextlib
import os
import resource
import select
import signal
import socket
import sys
from pathlib import Path
from threading import Thread
from typing import Any

from sesame.sandbox.buckets import protocol
from sesame.sandbox.buckets.connection import Connection
from sesame.sandbox.buckets.filesystem import BucketFiles
from sesame.sandbox.buckets.fuse import Owner
from sesame.sandbox.buckets.objects import Bucket, Connections, Keys

# How long a thread waits for Sesame to take a message.
SAY_S = 60.0
LOG_CHARS_MAX = 8192


class Mounts:
    """`sesame` is the socket to Sesame, `drafts` the folder for files being written."""

    def __init__(self, sesame: socket.socket, drafts: Path) -> None:
        self._sesame = sesame
        self._drafts = drafts
        self._connections = Connections(self._connect)
        self._loop = asyncio.get_running_loop()
        self._buckets: dict[int, Bucket] = {}
        self._mounts: dict[int, Connection] = {}
        # Mounts that Sesame has asked to end but that have not ended yet.
        self._ending: set[int] = set()
        self.ended = asyncio.Event()
        sesame.setblocking(False)
        self._loop.add_reader(sesame, self._heed)

    def _heed(self) -> None:
        """Handles all pending messages, so that a call's keys are in place before its requests run."""
        while not self.ended.is_set():
            try:
                received = protocol.receive(self._sesame)
            except BlockingIOError:
                return
            if received is None:
                self._loop.remove_reader(self._sesame)
                self.ended.set()
                return
            message, fds = received
            number = message["mount"]
            if message["kind"] == protocol.SERVE:
                self._serve(number, fds[0], message)
            elif message["kind"] == protocol.KEYS:
                if (bucket := self._buckets.get(number)) is not None:
                    bucket.keys = Keys(*message["keys"])
            elif message["kind"] == protocol.PING:
                self._say({"kind": protocol.PONG})
            elif (mount := self._mounts.get(number)) is not None:
                self._ending.add(number)
                mount.close()
            else:
                self._say({"kind": protocol.ENDED, "mount": number})

    def _serve(self, number: int, device: int, wanted: dict[str, Any]) -> None:
        bucket = self._buckets[number] = Bucket(wanted["bucket"], Keys(*wanted["keys"]), self._connections)
        files = BucketFiles(
            bucket,
            wanted["prefix"],
            Owner(wanted["user_id"], wanted["group_id"]),
            self._drafts,
            self._log,
            read_only=wanted["read_only"],
        )
        self._mounts[number] = Connection(device, files, self._heed, self._log, lambda: self._forget(number))
        self._mounts[number].start()
        # Check that the bucket exists while the kernel's first request is served.
        Thread(target=self._try, args=(number, bucket, wanted["prefix"]), daemon=True).start()

    def _try(self, number: int, bucket: Bucket, prefix: str) -> None:
        problem = ""
        try:
            bucket.list(prefix, at_most=1)
        except PermissionError:
            # Permissions are checked for each operation.
            pass
        except FileNotFoundError:
            problem = "it does not exist"
        except OSError as error:
            problem = str(error)
        self._say({"kind": protocol.SERVED, "mount": number, "problem": problem})

    def _forget(self, number: int) -> None:
        del self._mounts[number], self._buckets[number]
        if number in self._ending:
            self._ending.remove(number)
            self._say({"kind": protocol.ENDED, "mount": number})

    def _connect(self) -> socket.socket:
        """Runs in threads."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._say({"kind": protocol.CONNECT}, theirs.fileno())
        return ours

    def _log(self, text: str) -> None:
        """Runs in threads."""
        with contextlib.suppress(OSError):
            self._say({"kind": protocol.LOG, "text": text[-LOG_CHARS_MAX:]})

    def _say(self, message: dict[str, Any], *fds: int) -> None:
        """Runs in threads, too. Raises `OSError` if Sesame has ended."""
        ready = select.poll()
        ready.register(self._sesame, select.POLLOUT)
        while True:
            try:
                socket.send_fds(self._sesame, [protocol.encode(message)], fds)
                return
            except BlockingIOError:
                if not ready.poll(SAY_S * 1000):
                    raise


async def serve(sesame: socket.socket, drafts: Path) -> None:
    await Mounts(sesame, drafts).ended.wait()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ValueError, OSError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sesame = socket.socket(fileno=int(sys.argv[1]))
    asyncio.new_event_loop().run_until_complete(serve(sesame, Path(sys.argv[2])))
    # Exit without waiting for threads: pending requests of other processes then fail.
    os._exit(0)


if __name__ == "__main__":
    main()
