"""Sends everything that a function writes into one pipe: stdout, stderr, logging and child processes.

Set up by bootstrap.py before any user code runs. Buffers at most a line, so that nothing is lost when the process dies
or the result is sent.
"""

import errno
import io
import logging
import os
import sys
import time

# Longer writes are truncated (reference/runtime.md section 7).
WRITE_LIMIT_BYTES = 128 * 1024

_PY2 = sys.version_info[0] == 2
_TEXT = type(u"")
_KEPT = []


class _State(object):
    """The running call, for log records of every thread."""

    request_id = ""


state = _State()


def attach(out_fd):
    """Makes `out_fd` the process's stdout and stderr and configures the root logger."""
    for fd in (1, 2):
        if fd != out_fd:
            os.dup2(out_fd, fd)
    if out_fd > 2:
        os.close(out_fd)
    # Keep the old streams alive: collecting one would close its descriptor.
    _KEPT.extend((sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__))
    if _PY2:
        sys.stdout = sys.__stdout__ = _ByteStream(1, "<stdout>")
        sys.stderr = sys.__stderr__ = _ByteStream(2, "<stderr>")
    else:
        # Use one buffer for both, so that stdout and stderr keep the order in which they were written.
        shared = _shared_buffer()
        sys.stdout = sys.__stdout__ = _text_stream(shared, "surrogateescape")
        sys.stderr = sys.__stderr__ = _text_stream(shared, "backslashreplace")
    handler = _LogHandler(sys.stdout)
    handler.setFormatter(_LogFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


def flush():
    """On return, everything written by this process is in the pipe."""
    _flush(sys.stdout)
    _flush(sys.stderr)
    if sys.__stdout__ is not sys.stdout:
        _flush(sys.__stdout__)


def _flush(stream):
    try:
        stream.flush()
    except Exception:
        # The user has replaced it with something closed, broken or not a stream; the call must not fail because of
        # that.
        return


def write_line(text):
    """Writes one line, verbatim. Drops it if the function has closed its output."""
    try:
        _write(1, to_bytes(text) + b"\n")
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.EPIPE):
            raise


def log(level, text):
    """Writes one record in the layout of the root logger, regardless of the user's changes to `logging`."""
    head = "%s %s [%s] " % (_timestamp(time.time()), state.request_id, level)
    write_line(to_bytes(head) + to_bytes(text))


def _timestamp(seconds):
    whole = int(seconds)
    return "%s.%03dZ" % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)), int((seconds - whole) * 1000))


class _LogFormatter(logging.Formatter):
    """`2017-07-05T05:13:35.920Z <request id> [INFO] text`, followed by a traceback, if any."""

    def formatTime(self, record, datefmt=None):
        return _timestamp(record.created)

    def format(self, record):
        parts = ["%s %s [%s] " % (_timestamp(record.created), state.request_id, record.levelname), record.getMessage()]
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        for text in (record.exc_text, getattr(record, "stack_info", None)):
            if text:
                parts.extend(("\n", text))
        # Under Python 2 the parts may be text, or bytes in any encoding.
        return b"".join(map(to_bytes, parts)) if _PY2 else "".join(parts)


class _LogHandler(logging.Handler):
    """Writes to the instance's output, after flushing `stream`, even if the user has since replaced that stream."""

    def __init__(self, stream):
        logging.Handler.__init__(self)
        self.stream = stream

    def emit(self, record):
        try:
            line = to_bytes(self.format(record)) + b"\n"
            self.flush()
            _write(1, line)
        except Exception:
            self.handleError(record)

    def flush(self):
        _flush(self.stream)


class _ByteStream(object):
    """Python 2's stdout and stderr: writes immediately, text as UTF-8."""

    encoding = "utf-8"
    errors = "strict"
    mode = "w"
    closed = False
    newlines = None

    def __init__(self, fd, name):
        self._fd = fd
        self.name = name
        self.softspace = 0

    def write(self, text):
        _write(self._fd, to_bytes(text))

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        """Nothing is buffered."""

    def close(self):
        """Does nothing: the pipe belongs to the instance."""

    def fileno(self):
        return self._fd

    def isatty(self):
        return False


def _shared_buffer():
    class Raw(io.RawIOBase):
        name = "<stdout>"
        mode = "w"

        def writable(self):
            return True

        def fileno(self):
            return 1

        def isatty(self):
            return False

        def write(self, data):
            _write(1, data)
            return len(data)

    class Buffer(io.BufferedWriter):
        # Code that wraps `sys.stdout.buffer` in each call closes the buffer when the wrapper is collected.
        def close(self):
            self.flush()

    return Buffer(Raw(), 64 * 1024)


def _text_stream(buffer, errors):
    stream = io.TextIOWrapper(buffer, "utf-8", errors, newline="\n", line_buffering=True, write_through=True)
    stream.mode = "w"
    return stream


def _write(fd, data):
    """Writes all of `data`; beyond WRITE_LIMIT_BYTES, only its beginning as a line, and a note on the truncation."""
    left = memoryview(data)
    if len(left) > WRITE_LIMIT_BYTES:
        left = memoryview(_cut(left))
    while len(left):
        try:
            left = left[os.write(fd, left) :]
        except OSError as error:
            if error.errno != errno.EINTR:
                raise


def _cut(whole):
    """The beginning of an oversized write, at most WRITE_LIMIT_BYTES, and a line with the number of lost bytes."""
    end = WRITE_LIMIT_BYTES - 1
    # Do not cut within a UTF-8 character, whose bytes after the first are 10xxxxxx.
    while end > WRITE_LIMIT_BYTES - 4 and bytearray(whole[end : end + 1].tobytes())[0] & 0xC0 == 0x80:
        end -= 1
    ends_line = whole[len(whole) - 1 :].tobytes() == b"\n"
    lost = len(whole) - end - (1 if ends_line else 0)
    note = "[sesame] %d bytes of one write were cut here: at most %d bytes are kept of a write\n" % (
        lost,
        WRITE_LIMIT_BYTES,
    )
    return whole[:end].tobytes() + b"\n" + note.encode("ascii")


def to_bytes(text):
    """Text as UTF-8; surrogates that stand for bytes become those bytes again, other surrogates are escaped."""
    if isinstance(text, bytes):
        return text
    if not isinstance(text, _TEXT):
        text = str(text)
    if _PY2:
        return text.encode("utf-8") if isinstance(text, _TEXT) else text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")
