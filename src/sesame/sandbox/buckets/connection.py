"""One FUSE mount's connection to the kernel: reads requests, runs a few at a time in threads, writes the answers.

Used by `buckets.process` on its event loop. Closing the connection makes all waiting processes fail with an error at
once.
"""

import asyncio
import errno
import os
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from sesame.sandbox.buckets import fuse
from sesame.sandbox.buckets.filesystem import BucketFiles
from sesame.sandbox.buckets.fuse import Opcode, Request

# How many requests of one mount run at a time; others wait in the kernel.
RUNNING_MAX = 4
_WITHOUT_ANSWER = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT, Opcode.DESTROY})


class Connection:
    """`device` is an open /dev/fuse, closed by this class. `before` is called ahead of each request.

    `log` receives internal errors. `on_end` is called once, when the mount has been closed here or by the kernel.
    """

    def __init__(
        self,
        device: int,
        files: BucketFiles,
        before: Callable[[], None],
        log: Callable[[str], None],
        on_end: Callable[[], None],
    ) -> None:
        self._device = device
        self._files = files
        self._before = before
        self._log = log
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(max_workers=RUNNING_MAX, thread_name_prefix="bucket")
        self._running = 0
        self._reading = False
        # Threads that are writing an answer. The last one closes the descriptor, so that none writes to a reused
        # number.
        self._writing = 0
        self._lock = Lock()
        self._open = True

    def start(self) -> None:
        os.set_blocking(self._device, False)
        self._read_on()

    def close(self) -> None:
        """Idempotent, never blocks. Running requests complete, but their answers are dropped."""
        if not self._open:
            return
        self._pause()
        with self._lock:
            self._open = False
            writing = self._writing
        self._executor.submit(self._files.close)
        self._executor.shutdown(wait=False)
        if not writing:
            self._ended()

    def _ended(self) -> None:
        os.close(self._device)
        self._on_end()

    def _read_on(self) -> None:
        if self._open and not self._reading:
            self._reading = True
            self._loop.add_reader(self._device, self._readable)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._device)

    def _readable(self) -> None:
        self._before()
        if not self._open:
            return
        try:
            data = os.read(self._device, fuse.REQUEST_BYTES_MAX)
        except OSError as error:
            # ENOENT: the request was interrupted before it was read. ENODEV: the mount is gone.
            if error.errno not in (errno.EAGAIN, errno.EINTR, errno.ENOENT):
                self.close()
            return
        request = fuse.request(data)
        if request.opcode == Opcode.INIT:
            body = fuse.initialized(request.body)
            self._answer(fuse.answer(request.unique, body) if body else fuse.answer(request.unique, b"", errno.EPROTO))
        elif request.opcode in _WITHOUT_ANSWER:
            self._forget(request)
        else:
            self._running += 1
            if self._running >= RUNNING_MAX:
                self._pause()
            self._executor.submit(self._run, request)

    def _forget(self, request: Request) -> None:
        if request.opcode == Opcode.FORGET:
            self._files.forget(request.node, request.fields(fuse.FORGET)[0])
        elif request.opcode == Opcode.BATCH_FORGET:
            start, one = fuse.BATCH.size, fuse.BATCH_ONE
            for number in range(request.fields(fuse.BATCH)[0]):
                node, lookups = one.unpack_from(request.body, start + number * one.size)
                self._files.forget(node, lookups)

    def _run(self, request: Request) -> None:
        """Runs in a thread."""
        try:
            answer = fuse.answer(request.unique, self._files.run(request))
        except OSError as error:
            answer = fuse.answer(request.unique, b"", error.errno or errno.EIO)
        except Exception:  # noqa: BLE001 (whatever it is, a process waits for an answer)
            # A bug of ours: answer with an error, so that the process continues.
            self._log(traceback.format_exc())
            answer = fuse.answer(request.unique, b"", errno.EIO)
        self._answer(answer)
        self._loop.call_soon_threadsafe(self._ran)

    def _ran(self) -> None:
        self._running -= 1
        self._read_on()

    def _answer(self, answer: bytes) -> None:
        with self._lock:
            if not self._open:
                return
            self._writing += 1
        try:
            os.write(self._device, answer)
        except OSError as error:
            # ENOENT: the request was interrupted. ENODEV: the mount is gone, which the next read notices.
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                self._log(f"the kernel does not take an answer: {error}")
        with self._lock:
            self._writing -= 1
            last = not self._open and not self._writing
        if last:
            self._loop.call_soon_threadsafe(self._ended)
