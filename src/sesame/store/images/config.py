"""How an image's program is run: the configuration of an OCI image, or the process of a bundle.

Called by `store.images.images`, on threads, with the unpacked root, which resolves user names.
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sesame.model.container import ImageConfig, ImageUnavailable
from sesame.model.web_server import Arguments
from sesame.store.images.inside import place

ENVIRONMENT_BYTES = 32 * 1024
USERS_BYTES = 1024 * 1024
PATH_BYTES, NAME_BYTES = 1024, 255
_NUMBER = re.compile(r"[0-9]{1,9}\Z")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")


class _Of(msgspec.Struct, frozen=True):
    """The `config` of an OCI image's configuration."""

    entrypoint: Arguments | None = msgspec.field(name="Entrypoint", default=None)
    command: Arguments | None = msgspec.field(name="Cmd", default=None)
    environment: list[str] | None = msgspec.field(name="Env", default=None)
    working_dir: str = msgspec.field(name="WorkingDir", default="")
    user: str = msgspec.field(name="User", default="")


class _User(msgspec.Struct, frozen=True):
    uid: int = 0
    gid: int = 0


class _Process(msgspec.Struct, frozen=True):
    """The `process` of a bundle's config.json."""

    args: Arguments | None = None
    env: list[str] | None = None
    cwd: str = ""
    user: _User = _User()


def of_image(config: Mapping[str, Any], root: Path, reference: str) -> ImageConfig:
    """Raises `ImageUnavailable` for an invalid configuration."""
    found = _converted(config, _Of, reference)
    user, _colon, group = found.user.partition(":")
    uid, gid, home = _user(user or "0", root, reference)
    if group:
        gid = _group(group, root, reference)
    return _config(
        ImageConfig(entrypoint=found.entrypoint or (), command=found.command or (), user_id=uid, group_id=gid),
        found.environment, found.working_dir, home, reference,
    )  # fmt: skip


def of_bundle(process: Mapping[str, Any], root: Path, reference: str) -> ImageConfig:
    """The arguments are the image's whole program. Raises `ImageUnavailable` for an invalid configuration."""
    found = _converted(process, _Process, reference)
    _uid, _gid, home = _user(str(found.user.uid), root, reference)
    made = ImageConfig(entrypoint=found.args or (), user_id=found.user.uid, group_id=found.user.gid)
    return _config(made, found.env, found.cwd, home, reference)


def _config(made: ImageConfig, variables: list[str] | None, working_dir: str, home: str, reference: str) -> ImageConfig:
    environment = _environment(variables or [], reference)
    directory = working_dir or "/"
    if not directory.startswith("/") or ".." in directory.split("/") or not _is_path(directory):
        raise _refused(
            reference,
            f"the working directory '{directory[:80]}'",
            f"an absolute path without '..' and NUL, of at most {PATH_BYTES} bytes and {NAME_BYTES} in each part",
        )
    home = environment.get("HOME", home)
    # The home directory becomes a field of /etc/passwd.
    if not home.startswith("/") or ":" in home or "\n" in home or not _is_path(home):
        home = "/"
    return msgspec.structs.replace(made, environment=environment, working_dir=directory, home=home)


def _is_path(path: str) -> bool:
    return (
        "\0" not in path
        and len(os.fsencode(path)) <= PATH_BYTES
        and all(len(os.fsencode(each)) <= NAME_BYTES for each in path.split("/"))
    )


def _environment(variables: list[str], reference: str) -> dict[str, str]:
    if sum(map(len, variables)) > ENVIRONMENT_BYTES:
        raise _refused(reference, "more variables", f"at most {ENVIRONMENT_BYTES} bytes of them")
    found = {}
    for variable in variables:
        name, equals, value = variable.partition("=")
        if not name or not equals or "\0" in variable:
            raise _refused(reference, f"the variable '{variable[:80]}'", "NAME=VALUE")
        found[name] = value
    return found


def _user(user: str, root: Path, reference: str) -> tuple[int, int, str]:
    """User id, group id and home directory of a user, given by name or number."""
    for name, _password, uid, gid, _comment, home, *_shell in _entries(root, "passwd", 6):
        if user in (name, uid) and _NUMBER.match(uid) and _NUMBER.match(gid):
            return int(uid), int(gid), home or "/"
    if _NUMBER.match(user):
        return int(user), 0, "/root" if user == "0" else "/"
    raise _refused(
        reference, f"the user '{user[:80]}', who is not in its /etc/passwd", "a user of the image, or a number"
    )


def _group(group: str, root: Path, reference: str) -> int:
    if _NUMBER.match(group):
        return int(group)
    for name, _password, gid, *_members in _entries(root, "group", 3):
        if group == name and _NUMBER.match(gid):
            return int(gid)
    raise _refused(reference, f"the group '{group[:80]}', which is not in its /etc/group", "a group of the image")


def _entries(root: Path, name: str, fields: int) -> list[list[str]]:
    """The lines of a file in /etc with at least `fields` fields; links are followed only within the image."""
    path = place(root, f"etc/{name}")
    if path is None:
        # An image with a single static program has no users.
        return []
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    with os.fdopen(file, "rb") as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            return []
        content = opened.read(USERS_BYTES)
    lines = content.decode("utf-8", "replace").splitlines()
    return [parts for line in lines if len(parts := line.split(":")) >= fields]


def _converted(settings: Mapping[str, Any], kind: Any, reference: str) -> Any:
    try:
        return msgspec.convert(settings, kind)
    except msgspec.ValidationError as error:
        raise _refused(reference, f"settings that cannot be read ({error})", "those of an OCI image") from error


def _refused(reference: str, found: str, expected: str) -> ImageUnavailable:
    return ImageUnavailable(f"The image '{reference}' cannot be run: found {found}, expected {expected}")
