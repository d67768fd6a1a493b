"""Creates a new project: a function with its s.yaml, a test and a README, from the files in `templates/`.

Called by `sesame new`. Never overwrites a file, and leaves nothing behind on failure.

POLICY: the template is an s.yaml of edition 1.0.0 with the component fc: its tool is maintained, unlike Funcraft, and
it deploys to the API that Sesame serves, unlike fc3.
"""

import contextlib
import re
import string
from pathlib import Path

import msgspec
import yaml

from sesame.model.errors import ConfigurationError
from sesame.model.limits import SERVICE_NAME

_TEMPLATES = Path(__file__).parent / "templates"
_SUFFIX = ".template"
_PROJECT_FILES = ("s.yaml", "s.yml", "template.yml", "template.yaml")
# The function's name for each kind.
KINDS = {"event": "hello", "http": "web", "oss": "summary", "timer": "tick"}
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_NOT_IN_A_BUCKET = re.compile(r"[^a-z0-9-]+")
_BUCKET_CHARS_MAX = 60
# The newest Flask for each interpreter; for old interpreters, also the newest of its dependencies.
_FLASK = {
    "python2.7": ("flask==1.1.4", "werkzeug==1.0.1", "jinja2==2.11.3", "markupsafe==1.1.1", "itsdangerous==1.1.0"),
    "python3": (
        "flask==2.0.3", "click==8.0.4", "werkzeug==2.0.3", "jinja2==3.0.3", "markupsafe==2.0.1", "itsdangerous==2.0.1",
        "typing-extensions==4.1.1", "importlib-metadata==4.8.3", "zipp==3.6.0", "dataclasses==0.8",
    ),
}  # fmt: skip
_FLASK_TODAY = ("flask>=3,<4",)


class Wanted(msgspec.Struct, frozen=True):
    """`folder` is created if it does not exist; its name becomes that of the project and the service."""

    folder: Path
    kind: str
    runtime: str


class Made(msgspec.Struct, frozen=True):
    """The new project; `files` are relative to its folder."""

    folder: Path
    service: str
    function: str
    runtime: str
    files: tuple[str, ...]


def make(wanted: Wanted) -> Made:
    """Raises `ConfigurationError` if the folder's name is not a valid service name, or if it already has such files."""
    folder = wanted.folder.resolve()
    service, function = _service(folder.name), KINDS[wanted.kind]
    names = {
        # The name may have bytes that are not UTF-8, which a text file cannot contain.
        "project": folder.name.encode("utf-8", "replace").decode(),
        # A key of s.yaml that its variables refer to.
        "unit": f"{function}-function",
        "service": service,
        # YAML reads `no`, `true` and similar words as text only if they are quoted.
        "service_yaml": service if yaml.safe_load(service) == service else f'"{service}"',
        "function": function,
        "runtime": wanted.runtime,
        "bucket": f"{_NOT_IN_A_BUCKET.sub('-', service.lower()).strip('-')[:_BUCKET_CHARS_MAX] or 'my'}-in",
    }
    texts = _texts(wanted, names)
    _refuse_present(folder, texts)
    _write(folder, texts)
    return Made(folder, service, function, wanted.runtime, tuple(texts))


def _service(name: str) -> str:
    service = _NOT_IN_A_NAME.sub("-", name).strip("-")
    if not SERVICE_NAME.match(service):
        raise ConfigurationError(
            f"the folder's name '{name[:80]}' is to be the service's, which has to begin with a letter or _: "
            "name another folder, as in `sesame new hello`"
        )
    return service


def _texts(wanted: Wanted, names: dict[str, str]) -> dict[str, str]:
    """The files by their relative paths, with the project's names filled in."""
    source = _TEMPLATES / wanted.kind
    found = {
        path.relative_to(source).as_posix().removesuffix(_SUFFIX): string.Template(path.read_text("utf-8")).substitute(
            names
        )
        for path in sorted(source.rglob(f"*{_SUFFIX}"))
    }
    if wanted.kind == "http":
        found["code/requirements.txt"] = "\n".join((*_FLASK.get(wanted.runtime, _FLASK_TODAY), ""))
    return found


def _refuse_present(folder: Path, texts: dict[str, str]) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"{folder} is a file: name a new or an empty folder")
    present = [name for name in dict.fromkeys((*_PROJECT_FILES, *texts)) if (folder / name).exists()]
    if present:
        raise ConfigurationError(
            f"{folder} has {', '.join(present[:5])} already, and files are never overwritten: name "
            "a new or an empty folder"
        )


def _write(folder: Path, texts: dict[str, str]) -> None:
    """All or nothing: if a file cannot be written, removes those written before."""
    folders: list[Path] = []
    files: list[Path] = []
    try:
        for name, text in texts.items():
            path = folder / name
            missing = [parent for parent in (path.parent, *path.parent.parents) if not parent.exists()]
            for parent in reversed(missing):
                parent.mkdir()
                folders.append(parent)
            with path.open("x", encoding="utf-8") as file:
                files.append(path)
                file.write(text)
    except BaseException:
        for path in files:
            path.unlink(missing_ok=True)
        for path in reversed(folders):
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
