"""Compiled sources of code packages: one file per package and runtime, used at import instead of compiling.

Written by compile_package.py; bootstrap.py installs the archives that an instance is given. The function's directories
contain no compiled files of ours, and modules look as if the bare interpreter had created them.

An archive is MAGIC, the concatenated marshalled code objects, the marshalled index, and a trailer with the position of
the index. The index is (the interpreter's magic number, the directory in the code's file names, entries); entries map a
path below that directory to (source's mtime in seconds, source's size, position of the code, its size in bytes).
"""

import marshal
import os
import struct
import sys

if sys.version_info[0] == 2:
    import imp

    MAGIC_NUMBER = imp.get_magic()
else:
    # The public equivalent in importlib.util would add two milliseconds to a cold start.
    from importlib._bootstrap_external import MAGIC_NUMBER

MAGIC = b"sesame bytecode 1\n"
TRAILER = struct.Struct(">QQ")
_PY2 = sys.version_info[0] == 2


class Archive(object):
    """One open archive for the sources below `root`.

    Raises ValueError for an invalid or another interpreter's archive.
    """

    def __init__(self, fd, root):
        """Takes over `fd`."""
        self.root = root.rstrip("/") + "/"
        self._fd = fd
        size = os.fstat(fd).st_size
        self._mapped = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ) if _PY2 and size else None
        end = size - TRAILER.size - len(MAGIC)
        if end < len(MAGIC) or self._read(size - len(MAGIC), len(MAGIC)) != MAGIC:
            raise ValueError("not a bytecode archive")
        place, length = TRAILER.unpack(self._read(end, TRAILER.size))
        if place + length != end:
            raise ValueError("a truncated bytecode archive")
        magic, self.compiled_in, self._entries = marshal.loads(self._read(place, length))
        if magic != MAGIC_NUMBER:
            raise ValueError("a bytecode archive of another interpreter")

    def code_of(self, path):
        """The code of the source at `path`; None if it was not compiled or has changed since."""
        entry = self._entries.get(path[len(self.root) :]) if path.startswith(self.root) else None
        if entry is None:
            return None
        mtime, source_size, place, length = entry
        found = os.stat(path)
        if int(found.st_mtime) != mtime or found.st_size != source_size:
            return None
        code = marshal.loads(self._read(place, length))
        return code if code.co_filename == path else _moved(code, path)

    def _read(self, place, length):
        if not _PY2:
            return os.pread(self._fd, length, place)
        # Python 2 has no pread, and seeking would also move the file position of the function's child processes.
        return self._mapped[place : place + length]


def opened(sources):
    """Opens archives from [(root, descriptor or path), ...].

    Invalid ones are skipped: their sources compile at import.
    """
    archives = []
    for root, source in sources:
        try:
            fd = source if isinstance(source, int) else os.open(source, os.O_RDONLY)
        except OSError:
            # The file was removed after the host had found it.
            continue
        _close_on_exec(fd)
        try:
            archives.append(Archive(fd, root))
        except (ValueError, EOFError, TypeError, struct.error):
            os.close(fd)
    return archives


def code_of(archives, path):
    """The code of a source in the first archive that has it, or None."""
    for archive in archives:
        code = archive.code_of(path)
        if code is not None:
            return code
    return None


def _close_on_exec(fd):
    import fcntl

    fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)


if _PY2:
    import mmap
    import pkgutil
    import types

    def _moved(code, path):
        """The code with its file name replaced, in itself and in nested code objects."""
        constants = tuple(_moved(each, path) if isinstance(each, types.CodeType) else each for each in code.co_consts)
        return types.CodeType(
            code.co_argcount, code.co_nlocals, code.co_stacksize, code.co_flags, code.co_code, constants,
            code.co_names, code.co_varnames, path, code.co_name, code.co_firstlineno, code.co_lnotab,
            code.co_freevars, code.co_cellvars,
        )

    class _Importer(pkgutil.ImpImporter):
        """The importer of one directory. Derives from what pkgutil and pkg_resources expect of directories."""

        def __init__(self, archives, path):
            pkgutil.ImpImporter.__init__(self, path)
            self._archives = archives

        def find_module(self, fullname, path=None):
            """Finds any module of the directory: the interpreter does not search a directory that has an importer."""
            try:
                found = imp.find_module(fullname.rpartition(".")[2], [self.path])
            except ImportError:
                return None
            kind = found[2][2]
            source = os.path.join(found[1], "__init__.py") if kind == imp.PKG_DIRECTORY else found[1]
            code = None
            if kind in (imp.PKG_DIRECTORY, imp.PY_SOURCE) and os.path.isfile(source):
                code = code_of(self._archives, source)
            if code is None:
                return _Uncompiled(fullname, *found)
            return _Loader(fullname, found, source, code)

    class _Uncompiled(pkgutil.ImpLoader):
        """Lets the interpreter create the module. Error bodies omit frames of this file, but not those of pkgutil."""

        def load_module(self, fullname):
            self._reopen()
            try:
                return imp.load_module(fullname, self.file, self.filename, self.etc)
            finally:
                if self.file:
                    self.file.close()

    class _Loader(pkgutil.ImpLoader):
        """Creates a module as the interpreter does from source: without `__loader__`, and `__file__` is the source."""

        def __init__(self, fullname, found, source, code):
            pkgutil.ImpLoader.__init__(self, fullname, *found)
            self._source = source
            self._code_made = code

        def load_module(self, fullname):
            if self.file is not None:
                self.file.close()
            known = fullname in sys.modules
            module = sys.modules.setdefault(fullname, imp.new_module(fullname))
            module.__file__ = self._source
            if self.etc[2] == imp.PKG_DIRECTORY:
                module.__path__ = [os.path.dirname(self._source)]
            try:
                exec(self._code_made, module.__dict__)
            except BaseException:
                if not known:
                    sys.modules.pop(fullname, None)
                raise
            return sys.modules[fullname]

    def install(archives):
        """From now on, modules below the roots of these archives are imported from them."""
        roots = tuple(archive.root for archive in archives)

        def hook(path):
            if not (path.rstrip("/") + "/").startswith(roots) or not os.path.isdir(path):
                raise ImportError("not ours")
            return _Importer(archives, path)

        if archives:
            sys.path_hooks.append(hook)

    def load(name, tail, directory):
        """Executes the module `tail` of the directory as `name`. Raises ImportError if there is none."""
        importer = pkgutil.get_importer(directory)
        loader = importer.find_module(tail) if isinstance(importer, _Importer) else None
        if isinstance(loader, _Loader):
            return loader.load_module(name)
        found = imp.find_module(tail, [directory])
        try:
            return imp.load_module(name, *found)
        finally:
            if found[0] is not None:
                found[0].close()

else:
    from importlib.machinery import (
        BYTECODE_SUFFIXES,
        EXTENSION_SUFFIXES,
        SOURCE_SUFFIXES,
        ExtensionFileLoader,
        FileFinder,
        SourceFileLoader,
        SourcelessFileLoader,
    )

    import _imp

    def _moved(code, path):
        _imp._fix_co_filename(code, path)
        return code

    class _Loader(SourceFileLoader):
        """The interpreter's own loader, except that the code may be precompiled."""

        archives = ()

        def get_code(self, fullname):
            return code_of(self.archives, self.path) or SourceFileLoader.get_code(self, fullname)

    def install(archives):
        """From now on, modules below the roots of these archives are imported from them."""
        if not archives:
            return
        roots = tuple(archive.root for archive in archives)
        _Loader.archives = archives
        loaders = (
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (_Loader, SOURCE_SUFFIXES),
            (SourcelessFileLoader, BYTECODE_SUFFIXES),
        )

        def hook(path):
            if not (path.rstrip("/") + "/").startswith(roots) or not os.path.isdir(path):
                raise ImportError("not ours", path=path)
            return FileFinder(path, *loaders)

        # Before the interpreter's hook for directories, which is the last one.
        sys.path_hooks.insert(max(0, len(sys.path_hooks) - 1), hook)
        for path in list(sys.path_importer_cache):
            if (path.rstrip("/") + "/").startswith(roots):
                del sys.path_importer_cache[path]
