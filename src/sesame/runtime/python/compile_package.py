"""Compiles the sources of a code package into one archive (bytecode.py), with the interpreter that will import them.

    python -E -s -S -B -W ignore compile_package.py ROOT SHOWN_AS OUTPUT_FD SECONDS

Executed by the host in a sandbox, at any time. Never runs, imports or follows anything in the package. A source that
cannot be compiled, takes too long or crashes the compiler is left out; the interpreter then reports the problem at
import.
"""

import errno
import marshal
import os
import re
import select
import signal
import stat
import struct
import sys
import time

import bytecode

ONE_SOURCE_S = 2.0
SOURCE_BYTES_MAX = 16 * 1024 * 1024
CODE_BYTES_MAX = 64 * 1024 * 1024
_PY2 = sys.version_info[0] == 2
# The index of the source, and the size of its code; _NONE if it was not compiled.
_ANSWER = struct.Struct(">QQ")
_NONE = 2**64 - 1
# PEP 263, as the interpreter parses it.
_CODING = re.compile(br"^[ \t\f]*#.*?coding[:=][ \t]*[-\w.]+")
_BLANK = re.compile(br"^[ \t\f]*(?:#.*)?[\r\n]*$")
_BOM = b"\xef\xbb\xbf"


def main(root, shown_as, output, seconds):
    deadline = time.time() + seconds
    sources = list(_sources(root))
    shown_as = shown_as.rstrip("/")
    place = len(bytecode.MAGIC)
    _write(output, bytecode.MAGIC)
    entries = {}
    for number, code in _compiled(root, shown_as, sources, deadline):
        path, mtime, size = sources[number]
        entries[path] = (mtime, size, place, len(code))
        _write(output, code)
        place += len(code)
    index = marshal.dumps((bytecode.MAGIC_NUMBER, shown_as, entries))
    _write(output, index + bytecode.TRAILER.pack(place, len(index)) + bytecode.MAGIC)


def _sources(root):
    """(path below root, mtime, size) of every source without a compiled file in the package."""
    for directory, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        names = set(files)
        cached = directory + "/__pycache__"
        shipped = set(name.partition(".")[0] for name in os.listdir(cached)) if os.path.isdir(cached) else ()
        for name in sorted(names):
            if not name.endswith(".py") or name + "c" in names or name[:-3] in shipped:
                continue
            path = os.path.join(directory, name)
            found = os.lstat(path)
            if stat.S_ISREG(found.st_mode) and found.st_size <= SOURCE_BYTES_MAX:
                yield path[len(root.rstrip("/")) + 1 :], int(found.st_mtime), found.st_size


def _compiled(root, shown_as, sources, deadline):
    """Yields (index of the source, marshalled code). Sources are compiled in child processes, which may crash."""
    number = 0
    while number < len(sources) and time.time() < deadline:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            _compile_from(number, root, shown_as, sources, writing)
        os.close(writing)
        try:
            while number < len(sources):
                limit = min(deadline, time.time() + ONE_SOURCE_S)
                head = _read(reading, _ANSWER.size, limit)
                if head is None:
                    break
                number, size = _ANSWER.unpack(head)
                if size != _NONE:
                    if size > CODE_BYTES_MAX:
                        break
                    code = _read(reading, size, limit)
                    if code is None:
                        break
                    yield number, code
                number += 1
        finally:
            os.close(reading)
            os.kill(child, signal.SIGKILL)
            _wait(child)
        # Skip the source at which the child was lost.
        number += 1


def _compile_from(number, root, shown_as, sources, writing):
    """Runs in the child. Does not return."""
    try:
        # For messages from the interpreter's C code.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for fd in (1, 2):
            os.dup2(nowhere, fd)
        for at in range(number, len(sources)):
            code = _code(os.path.join(root, sources[at][0]), shown_as + "/" + sources[at][0])
            if code is None:
                _write(writing, _ANSWER.pack(at, _NONE))
            else:
                _write(writing, _ANSWER.pack(at, len(code)) + code)
    finally:
        os._exit(0)


def _code(path, shown):
    """The marshalled code; None if the interpreter would, or might, reject the source."""
    try:
        with open(path, "rb") as file:
            source = file.read()
        if _PY2:
            if not _says_its_encoding(source):
                return None
            # As the interpreter reads a file: with any line ending, and one after the last line.
            source = source.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            if not source.endswith(b"\n"):
                source += b"\n"
        return marshal.dumps(compile(source, shown, "exec", 0, True))
    except Exception:
        return None


def _says_its_encoding(source):
    """Whether Python 2 accepts the source from a file: compile() itself requires no encoding for non-ASCII text."""
    if b"\0" in source:
        return False
    if source.startswith(_BOM) or all(byte < 128 for byte in bytearray(source)):
        return True
    first, _, rest = source.partition(b"\n")
    if _CODING.match(first):
        return True
    return bool(_BLANK.match(first) and _CODING.match(rest.partition(b"\n")[0]))


def _read(fd, size, limit):
    """Reads exactly `size` bytes; None at the end of the stream or at the time limit."""
    parts = []
    while size:
        try:
            # Not with `select`, which rejects descriptors from 1,024 on.
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if not poll.poll(max(0.0, limit - time.time()) * 1000):
                return None
            part = os.read(fd, min(size, 1024 * 1024))
        except (OSError, select.error) as error:
            if error.args[0] != errno.EINTR:
                raise
            continue
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write(fd, data):
    left = memoryview(data)
    while len(left):
        left = left[os.write(fd, left) :]


def _wait(pid):
    while True:
        try:
            os.waitpid(pid, 0)
            return
        except OSError as error:
            if error.errno != errno.EINTR:
                raise


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
