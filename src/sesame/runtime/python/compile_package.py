"""Compiles the sources of a code package into one archive (bytecode.py), with the interpreter that will import them.

    python -E -s -S -B -W ignore compile_package.py ROOT SHOWN_AS OUTPUT_FD SECONDS

Executed by the host in a sandbox, whenever it likes. Never runs, imports or follows anything of the package; a source
that cannot be compiled, takes too long or ends the compiler is left out, and the interpreter says at its import what is
wrong with it.
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
# The number of the source and what was compiled; the size is NONE where nothing was.
_ANSWER = struct.Struct(">QQ")
_NONE = 2**64 - 1
# PEP 263, as the interpreter looks for it.
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
    """(path below root, mtime, size) of every source for which the package ships no compiled file itself."""
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
    """(number of the source, marshalled code); each source is compiled by a child that may be lost."""
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
        # The one at which the child was lost.
        number += 1


def _compile_from(number, root, shown_as, sources, writing):
    """In the child. Does not return."""
    try:
        # Where C code of the interpreter complains.
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
    """The marshalled code, or None where the interpreter would refuse the source, or may."""
    try:
        with open(path, "rb") as file:
            source = file.read()
        if _PY2:
            if not _says_its_encoding(source):
                return None
            # As the interpreter reads a file: any line ending, and one after the last line.
            source = source.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            if not source.endswith(b"\n"):
                source += b"\n"
        return marshal.dumps(compile(source, shown, "exec", 0, True))
    except Exception:
        return None


def _says_its_encoding(source):
    """Whether Python 2 takes the source from a file: compile() does not ask for the encoding of what is not ASCII."""
    if b"\0" in source:
        return False
    if source.startswith(_BOM) or all(byte < 128 for byte in bytearray(source)):
        return True
    first, _, rest = source.partition(b"\n")
    if _CODING.match(first):
        return True
    return bool(_BLANK.match(first) and _CODING.match(rest.partition(b"\n")[0]))


def _read(fd, size, limit):
    """Exactly so many bytes, or None at the end of the stream or of the time."""
    parts = []
    while size:
        try:
            # Not by `select`, which refuses descriptors from 1,024 on.
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
