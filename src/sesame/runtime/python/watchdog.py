"""Ends the process when the host is gone, and logs the stacks when time is up (reference/runtime.md section 6.3).

bootstrap.py starts it as soon as there is a socket, as a thread that waits for the kernel to report the end of the
stream. It does not read from the socket, so calls do not wake it.

The host signals a timeout by shutting down its sending half. If the kernel cannot distinguish that from a full close
(macOS), the host sends SIGTERM. A thread runs even while the main thread waits for a lock, which signals do not
interrupt under Python 2; also, forked children would inherit a SIGTERM handler, and lose a signal that arrives right
after the fork.

While C code holds the interpreter's lock, the thread cannot run. The host then sends DUMP_SIGNAL (see
sandbox/stack_dump.py). Under Python 3 the fault handler, which is C, logs the stacks and ends the process. Python 2 has
no such handler: there, a handler in Python runs if the C code checks for signals, as a search of `re` does.
"""

import os
import select
import sys
import time

import failures
import output

try:
    from _thread import allocate_lock, get_ident, start_new_thread
    # The C module: the public one turns every number into an enumeration first.
    import _signal as signal
except ImportError:
    import signal
    from thread import allocate_lock, get_ident, start_new_thread

try:
    import faulthandler
except ImportError:
    faulthandler = None

EXIT_AFTER_DUMP = 143
DUMP_SIGNAL = signal.SIGRTMAX - 1 if hasattr(signal, "SIGRTMAX") else None
# Reports that the host has shut down its sending half: Linux only, and unknown to Python 2's select module.
_POLLRDHUP = 0x2000 if sys.platform.startswith("linux") else 0


class Watchdog(object):
    """Watches one socket for the process that created it; forked children of user code are not watched."""

    def __init__(self, sock_fd):
        self._sock_fd = sock_fd
        self._pid = os.getpid()
        self._dumping = allocate_lock()
        self._own_thread = None

    def start(self):
        if not _POLLRDHUP:
            signal.signal(signal.SIGTERM, self._on_signal)
        elif faulthandler is not None:
            # Afterwards the signal's default action, ending the process, takes place.
            faulthandler.register(DUMP_SIGNAL, file=2, all_threads=True, chain=True)
        else:
            signal.signal(DUMP_SIGNAL, self._on_signal)
        if hasattr(select, "poll"):
            start_new_thread(self._watch, ())

    def _watch(self):
        self._own_thread = get_ident()
        if hasattr(signal, "pthread_sigmask"):
            # Signals must interrupt the main thread, which runs the handlers.
            signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
        poll = select.poll()
        poll.register(self._sock_fd, _POLLRDHUP)
        while True:
            try:
                events = poll.poll()
            except (OSError, select.error):
                continue
            if events and events[0][1] & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                os._exit(0)
            if events:
                self.dump()

    def _on_signal(self, number, _frame):
        if os.getpid() != self._pid:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.dump()
        # The watchdog's thread has already begun, and needs the interpreter's lock to finish.
        while True:
            time.sleep(1)

    def dump(self):
        """Logs the stack of every thread except the watchdog's, and exits."""
        if not self._dumping.acquire(False):
            return
        try:
            output.flush()
        except RuntimeError:
            # The signal arrived in the middle of a write to the same stream.
            pass
        output.log("ERROR", "Dumping stack trace after function timeout")
        for ident, frame in sorted(sys._current_frames().items()):
            if ident != self._own_thread:
                text = failures.stack_text(frame)
                if text:
                    output.log("ERROR", "request id = %s, thread id = %d" % (output.state.request_id, ident))
                    output.log("ERROR", text.rstrip())
        os._exit(EXIT_AFTER_DUMP)
