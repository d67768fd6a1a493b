"""Packs a function's code from a file or folder into a zip: equal files give equal bytes.

Used by `deploy.plan` and `build.builder`. Obeys ignore files in gitignore's syntax; never leaves the folder.
"""

import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sesame.deploy.project import Code
from sesame.model.errors import ConfigurationError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

# Files and folders that are never code (reference/conventions.md §4.1, §4.4).
ALWAYS_IGNORED = (
    ".git", ".svn", ".hg", ".env", ".DS_Store", "template.packaged.yml", ".nas.yml", ".fun/nas", ".fun/tmp",
    ".fun/package", ".fun/build", ".s/build", "__pycache__", ".venv", "sesame-data", ".funignore",
    ".fcignore", ".vscode", ".idea",
)  # fmt: skip
# Packed as executable, like the official tools do, even if it was written on a system without file modes.
BOOTSTRAP = "bootstrap"
EPOCH = (1980, 1, 1, 0, 0, 0)
FILES_MAX = 100_000
# POLICY: the server accepts 50 MB as base64 text; deploying a much larger folder is a mistake.
BYTES_MAX = 500 * 1024 * 1024


def packed(code: Code) -> bytes:
    """The zip's bytes. Raises `ConfigurationError` if the code is unreadable, too large or empty."""
    path = code.path
    assert path is not None, "code in a bucket has no file"
    if not path.exists():
        raise ConfigurationError(f"the code {path} does not exist: expected a folder, a file or a zip")
    if path.is_file():
        if path.suffix in (".zip", ".jar", ".war") and zipfile.is_zipfile(path):
            return path.read_bytes()
        return _zip([(path.name, path)], path)
    found = list(files(path, code))
    if not found:
        raise ConfigurationError(f"the code {path} holds no files, or all are ignored")
    return _zip(found, path)


def digest(code: Code) -> str:
    """A digest that is equal for equal zips, much faster than packing. Raises like `packed`."""
    known = hashlib.sha256()
    path = code.path
    assert path is not None, "code in a bucket has no file"
    found = [(path.name, path)] if path.is_file() else sorted(files(path, code)) if path.is_dir() else []
    for name, file in found:
        try:
            with file.open("rb") as content:
                held = hashlib.file_digest(content, "sha256").digest()
                mode = os.fstat(content.fileno()).st_mode
        except OSError as error:
            raise ConfigurationError(f"the code {file} cannot be read: {error.strerror}") from error
        known.update(f"{name}\0{mode & 0o100}\0".encode("utf-8", "surrogateescape") + held)
    return known.hexdigest() if found else ""


def ignored_by(code: Code) -> "GitIgnoreSpec":
    """The patterns of files that are not code: built-in ones, and those of the code's fields and ignore file."""
    # Imported late: it is slow, and only reading folders needs it.
    from pathspec import GitIgnoreSpec

    lines = [*ALWAYS_IGNORED, *code.left_out]
    if code.ignore_file is not None and code.ignore_file.is_file():
        lines += code.ignore_file.read_text("utf-8").splitlines()
    lines += code.patterns
    return GitIgnoreSpec.from_lines(lines)


def files_of(code: Code) -> Iterator[Path]:
    """Yields the files that `packed` packs."""
    path = code.path
    if path is not None and path.is_dir():
        yield from (file for _name, file in files(path, code))
    elif path is not None:
        yield path


def files(root: Path, code: Code) -> Iterator[tuple[str, Path]]:
    """Yields every file of the folder `root` that belongs to the code, with its name in the zip, sorted by name."""
    ignored = ignored_by(code)
    count = 0
    for folder, folders, names in os.walk(root):
        below = Path(folder).relative_to(root)
        # A negated pattern may include a file of an ignored folder, so only folders that are always ignored are
        # skipped. A template in a folder of its code has what is built for it below that folder.
        folders[:] = sorted(
            name
            for name in folders
            if name not in (*ALWAYS_IGNORED, *code.left_out) and f"{below.name}/{name}" not in ALWAYS_IGNORED
        )
        for name in sorted(names):
            inside = (below / name).as_posix()
            if ignored.match_file(inside):
                continue
            count += 1
            if count > FILES_MAX:
                raise ConfigurationError(f"the code {root} has more than {FILES_MAX} files: name a folder of its own")
            yield inside, Path(folder) / name


def _zip(files: list[tuple[str, Path]], root: Path) -> bytes:
    made, total = io.BytesIO(), 0
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(files):
            try:
                found = path.stat()
                if not stat.S_ISREG(found.st_mode):
                    continue
                total += found.st_size
                if total > BYTES_MAX:
                    raise ConfigurationError(
                        f"the code {root} is larger than {BYTES_MAX} bytes: ignore what it needs not"
                    )
                entry = zipfile.ZipInfo(name, EPOCH)
                runs = found.st_mode & 0o100 or name == BOOTSTRAP
                entry.external_attr = (stat.S_IFREG | (0o755 if runs else 0o644)) << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes())
            except FileNotFoundError as error:
                raise ConfigurationError(f"the code has a link that leads nowhere: {path}") from error
            except OSError as error:
                raise ConfigurationError(f"the code {path} cannot be read: {error.strerror}") from error
    return made.getvalue()
