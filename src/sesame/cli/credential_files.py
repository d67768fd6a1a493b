"""Reads the files that contain people's keys for the cloud: fcli's, the SDKs' and the aliyun command's.

Called by `cli.server` if nothing else names a server or a key (reference/conventions.md §4.3). Raises
`ConfigurationError` with file and field for invalid or incomplete contents; never prints a secret.
"""

import configparser
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sesame.model.errors import ConfigurationError

FCLI = Path(".fcli", "config.yaml")
CREDENTIALS = Path(".alibabacloud", "credentials.ini")
ALIYUN = Path(".aliyun", "config.json")
CREDENTIALS_NAME = "ALIBABA_CLOUD_CREDENTIALS_FILE"
PROFILE_NAME = "ALIBABA_CLOUD_PROFILE"
ALIYUN_DISABLED_NAME = "ALIBABA_CLOUD_CLI_PROFILE_DISABLED"
FILE_BYTES_MAX = 1024 * 1024
_ANOTHER_WAY = "set ACCESS_KEY_ID and ACCESS_KEY_SECRET instead"


class FileKey(msgspec.Struct, frozen=True):
    """A key in a file; missing fields are "". `source` is the file's name with the profile."""

    access_key_id: str
    secret: str
    token: str
    source: str


def endpoint(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The endpoint in fcli's file, and the file's name."""
    path = _home(environ, FCLI)
    said = _fcli(path) if path is not None else {}
    return (said["endpoint"], f"endpoint in {path}") if said.get("endpoint") else None


def key(environ: Mapping[str, str]) -> FileKey | None:
    """The first complete key of fcli's file, the SDKs' credentials.ini and the aliyun command's config.json."""
    return next(_keys(environ), None)


def _keys(environ: Mapping[str, str]) -> Iterator[FileKey]:
    for path, read in (
        (_home(environ, FCLI), _fcli_key),
        (_credentials_path(environ), _ini_key),
        (None if _is_true(environ.get(ALIYUN_DISABLED_NAME, "")) else _home(environ, ALIYUN), _aliyun_key),
    ):
        if path is not None and (found := read(path, environ)) is not None:
            yield found


def _home(environ: Mapping[str, str], name: Path) -> Path | None:
    home = environ.get("HOME", "")
    return Path(home) / name if home else None


def _credentials_path(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get(CREDENTIALS_NAME):
        path = Path(named)
        if not path.exists():
            raise ConfigurationError(f"{CREDENTIALS_NAME} is {named}, but that file does not exist")
        return path
    return _home(environ, CREDENTIALS)


def _fcli_key(path: Path, _environ: Mapping[str, str]) -> FileKey | None:
    said = _fcli(path)
    names = ("access_key_id", "access_key_secret", "security_token")
    return _whole(said, names, str(path))


def _fcli(path: Path) -> dict[str, str]:
    text = _read(path)
    if text is None:
        return {}
    # Imported late: few users have this file, and the import would slow down every command.
    import yaml

    try:
        # BaseLoader keeps scalars as text: a key may look like a number.
        said = yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if said in ("", None):
        return {}
    if not isinstance(said, dict):
        raise ConfigurationError(f"{path}: expected lines as `endpoint: https://…`, found a {type(said).__name__}")
    for name in ("endpoint", "access_key_id", "access_key_secret", "security_token"):
        if not isinstance(said.get(name, ""), str):
            raise ConfigurationError(f"{path}: {name}: expected a text, found a {type(said[name]).__name__}")
    return said


def _ini_key(path: Path, environ: Mapping[str, str]) -> FileKey | None:
    text = _read(path)
    if text is None:
        return None
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ConfigurationError(f"{path} is no INI file: {error.message.splitlines()[0][:200]}") from error
    profile = environ.get(PROFILE_NAME, "") or "default"
    if profile not in parser:
        if profile != "default":
            raise ConfigurationError(f"{path}: {PROFILE_NAME} is {profile}, but the file has no section [{profile}]")
        return None
    said = parser[profile]
    if said.get("enable", "true").strip().lower() == "false":
        return None
    kind = said.get("type", "access_key").strip()
    where = f"{path} [{profile}]"
    if kind not in ("access_key", "sts"):
        raise ConfigurationError(f"{where}: type: expected access_key or sts, found '{kind[:40]}'; {_ANOTHER_WAY}")
    return _whole(said, ("access_key_id", "access_key_secret", "security_token"), where, required=True)


def _aliyun_key(path: Path, environ: Mapping[str, str]) -> FileKey | None:
    text = _read(path)
    if text is None:
        return None
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} is no JSON: {error}") from error
    profiles = said.get("profiles") if isinstance(said, dict) else None
    if not isinstance(profiles, list) or not all(isinstance(each, dict) for each in profiles):
        raise ConfigurationError(f"{path}: profiles: expected a list of objects")
    wanted = environ.get(PROFILE_NAME, "") or said.get("current") or "default"
    profile = next((each for each in profiles if each.get("name") == wanted), None)
    if profile is None:
        if not profiles:
            return None
        raise ConfigurationError(f"{path}: profiles: there is none of the name '{str(wanted)[:80]}'")
    mode = profile.get("mode", "AK")
    where = f"{path}, profile {wanted}"
    if mode not in ("AK", "StsToken"):
        raise ConfigurationError(f"{where}: mode: expected AK or StsToken, found '{str(mode)[:40]}'; {_ANOTHER_WAY}")
    return _whole(profile, ("access_key_id", "access_key_secret", "sts_token"), where)


def _whole(
    said: Mapping[str, Any], names: tuple[str, str, str], where: str, *, required: bool = False
) -> FileKey | None:
    """Both halves or none. Raises an error for one half, or for none if `required`."""
    values = []
    for name in names:
        value = said.get(name) or ""
        if not isinstance(value, str):
            raise ConfigurationError(f"{where}: {name}: expected a text, found a {type(value).__name__}")
        value = value.strip()
        if not (value.isascii() and value.isprintable()):
            raise ConfigurationError(f"{where}: {name}: holds characters that no key has: expected printable ASCII")
        values.append(value)
    key_id, secret, token = values
    if not key_id and not secret and not required:
        return None
    for name, value in ((names[0], key_id), (names[1], secret)):
        if not value:
            raise ConfigurationError(f"{where}: {name} is missing: a key is {names[0]} and {names[1]}")
    return FileKey(key_id, secret, token, where)


def _is_true(text: str) -> bool:
    return text.strip().lower() == "true"


def _read(path: Path) -> str | None:
    """Reads a file; None if it does not exist."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ConfigurationError(f"{path} is larger than {FILE_BYTES_MAX} bytes")
        return data.decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is no UTF-8 text: {error.reason} at byte {error.start}") from error
