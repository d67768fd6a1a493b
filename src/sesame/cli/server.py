"""Selects the server that a command talks to, and the key.

Used by every command that talks to a server. Never prints a secret. Address and key each come from the first of these
sources that has one:

1. the flags `--endpoint` and `--data-dir`;
2. the environment variables of `sesame env`, fun, fcli, the SDKs and Serverless Devs;
3. the data directory: the Sesame that runs on it, and its account's key, only for that Sesame; if none is set and no
   Sesame runs on the default one, the directory of a `sesame dev` running for the working directory or a parent;
4. people's configuration for the cloud: the address in `~/.fcli/config.yaml`, else the cloud's for ACCOUNT_ID and
   REGION; the key in `~/.fcli/config.yaml`, `~/.alibabacloud/credentials.ini`, `~/.aliyun/config.json`
   (`cli.credential_files`).

POLICY: source 4 gives no address if a data directory was named or exists. If its Sesame is not running, that is an
error, and never leads to a call of the cloud by mistake.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from sesame.cli import credential_files, output
from sesame.data_dir import DataDir, Endpoints
from sesame.dev import places
from sesame.model.errors import ConfigurationError
from sesame.settings import TABLE

# reference/conventions.md §4.3, §4.4: the API's address in `sesame env`, fun and Serverless Devs.
ENDPOINT_NAMES = ("FC_ENDPOINT", "FC_CLIENT_CUSTOM_ENDPOINT")
OSS_ENDPOINT = "OSS_ENDPOINT"
# The names in fun and `sesame env`, and in fcli.
ACCOUNT_NAMES = ("ACCOUNT_ID", "ALIBABA_CLOUD_ACCOUNT_ID")
REGION_NAMES = ("REGION", "DEFAULT_REGION", "ALIBABA_CLOUD_DEFAULT_REGION")
_CLOUD_HOST = re.compile(r"(\d+)\.([a-z0-9-]+?)(?:-internal)?\.fc\.aliyuncs\.com")


class KeyNames(msgspec.Struct, frozen=True):
    """A family of environment variables. A key comes from one family, and never combines two."""

    key_id: str
    secret: str
    token: str = ""


# reference/conventions.md §4.3: the names in `sesame env` and fun, in the SDKs' credential chain, and in old fcli.
KEY_NAMES = (
    KeyNames("ACCESS_KEY_ID", "ACCESS_KEY_SECRET", "SECURITY_TOKEN"),
    KeyNames("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN"),
    KeyNames("ALIYUN_ACCESS_KEY_ID", "ALIYUN_ACCESS_KEY_SECRET"),
)
_KEY_IDS = frozenset(names.key_id for names in KEY_NAMES)
HOW_TO_NAME_A_KEY = f"set {KEY_NAMES[0].key_id} and {KEY_NAMES[0].secret}"


class Key(msgspec.Struct, frozen=True):
    """An access key and its source; `account_id` is empty if only the server knows it."""

    access_key_id: str
    secret: str
    source: str
    token: str = ""
    account_id: str = ""

    def described(self) -> str:
        whose = f"account {self.account_id}, " if self.account_id else ""
        kind = "temporary key" if self.token else "key"
        return f"{whose}{kind} {self.access_key_id} ({self.source})"


class Server(msgspec.Struct, frozen=True):
    """The server to call: its address with scheme and without path, the source of the address, and the key.

    `oss` is the address of its object storage, and `region` its region; "" if unknown.
    """

    endpoint: str
    source: str
    key: Key
    oss: str = ""
    region: str = ""


class Named(msgspec.Struct, frozen=True):
    """The server named by the user: the flags `--endpoint` and `--data-dir`, and the effective data directory.

    `data_dir_given`: a flag named the directory, so it takes precedence over the environment.
    """

    data_dir: Path
    data_dir_given: bool = False
    endpoint: str | None = None


def choose(named: Named, environ: Mapping[str, str] | None = None) -> Server:
    """The address and the key, each from the first source that has one (see the module's docstring).

    A directory's key is used only for that directory's server, unless flags name both. Raises `ConfigurationError`,
    whose message says what is missing and how to provide it.
    """
    environ = os.environ if environ is None else environ
    data_dir = DataDir(named.data_dir) if named.data_dir_given else directory(named.data_dir)
    found = _named_endpoint(named, environ)
    key = None if named.data_dir_given else _environment_key(environ)
    # If the environment has everything, the state of the directory does not matter.
    running = None if found and key else data_dir.running()
    if found is None:
        found = (running.fc, f"data directory {data_dir.path}") if running else _clouds_endpoint(named, environ)
    if found is None:
        raise _none_runs(data_dir, given=named.data_dir_given)
    endpoint, source = found
    if key is None and (named.data_dir_given or (running and is_at(running, endpoint))):
        key = _directory_key(data_dir)
    if key is None and (of_a_file := credential_files.key(environ)) is not None:
        key = Key(of_a_file.access_key_id, of_a_file.secret, of_a_file.source, of_a_file.token)
    if key is None:
        raise ConfigurationError(
            f"there is no key for {endpoint} ({source}): {HOW_TO_NAME_A_KEY}, or name with --data-dir the "
            "directory of a Sesame on this machine, whose key is used then"
        )
    account_id, region, oss = *_cloud(endpoint), ""
    if running is not None and is_at(running, endpoint):
        oss, region = running.oss, running.region
    elif not named.data_dir_given:
        oss = environ.get(OSS_ENDPOINT, "")
        region = region or _first(environ, REGION_NAMES)
        # The account id belongs to the key from the same source.
        account_id = account_id or (_first(environ, ACCOUNT_NAMES) if key.source in _KEY_IDS else "")
    if account_id and not key.account_id:
        key = msgspec.structs.replace(key, account_id=account_id)
    return Server(endpoint, source, key, oss, region)


def directory(path: Path) -> DataDir:
    """The data directory in the settings; instead of the default, that of a `sesame dev` running here."""
    data_dir = DataDir(path)
    if path != TABLE["data_dir"].default or data_dir.running() is not None:
        return data_dir
    return places.running_for(Path.cwd()) or data_dir


def announce(server: Server, what: str) -> None:
    """Prints to stderr which server a command calls, so that users notice a call to the wrong one."""
    output.note(output.harmless(f"{what} at {server.endpoint} ({server.source}) as {server.key.described()}."))


def named_endpoint(environ: Mapping[str, str] | None = None) -> tuple[str, str] | None:
    """The address in the environment, and the variable's name."""
    environ = os.environ if environ is None else environ
    for name in ENDPOINT_NAMES:
        if value := environ.get(name):
            return checked_endpoint(value, name), name
    return None


def checked_endpoint(value: str, source: str) -> str:
    """Normalises an address to `scheme://host[:port]`; the default scheme is https, as in the official SDKs."""
    text = value.strip().removesuffix("/")
    if "://" not in text:
        text = f"https://{text}"
    try:
        url = urlsplit(text)
        url.port  # noqa: B018 (raises for what is no port)
    except ValueError as error:
        shown = output.harmless(value)
        raise ConfigurationError(f"{source} is set to '{shown}', which is no address: {error}") from error
    if "@" in url.netloc:
        # Not printed: it may contain a password.
        raise ConfigurationError(f"{source} holds a user name: expected https://HOST[:PORT] or http://HOST[:PORT]")
    printable = text.isascii() and text.isprintable() and " " not in text
    if (
        url.scheme not in ("http", "https")
        or not url.hostname
        or url.path
        or url.query
        or url.fragment
        or not printable
    ):
        raise ConfigurationError(
            f"{source} is set to '{output.harmless(value)}': expected https://HOST[:PORT] or http://HOST[:PORT]"
        )
    return text


def is_at(running: Endpoints, endpoint: str) -> bool:
    """Whether this running Sesame serves the API at a checked address."""
    return _comparable(endpoint) in [_comparable(address) for address in (running.fc, running.fc_https) if address]


def _comparable(endpoint: str) -> str:
    return endpoint.rstrip("/").replace("://localhost", "://127.0.0.1")


def _named_endpoint(named: Named, environ: Mapping[str, str]) -> tuple[str, str] | None:
    if named.endpoint is not None:
        return checked_endpoint(named.endpoint, "--endpoint"), "--endpoint"
    return None if named.data_dir_given else named_endpoint(environ)


def _clouds_endpoint(named: Named, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The cloud's address for the account in the environment and the files."""
    if named.data_dir_given or environ.get(TABLE["data_dir"].environment) or named.data_dir.exists():
        return None
    if (found := credential_files.endpoint(environ)) is not None:
        return checked_endpoint(*found), found[1]
    account = next((name for name in ACCOUNT_NAMES if environ.get(name)), None)
    region = next((name for name in REGION_NAMES if environ.get(name)), None)
    if account is None or region is None:
        return None
    source = f"{account} and {region}"
    return checked_endpoint(f"https://{environ[account]}.{environ[region]}.fc.aliyuncs.com", source), source


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environ[name].strip() for name in names if environ.get(name)), "")


def _cloud(endpoint: str) -> tuple[str, str]:
    """Account and region in an address of the cloud, or empty strings."""
    match = _CLOUD_HOST.fullmatch(urlsplit(endpoint).hostname or "")
    return (match[1], match[2]) if match else ("", "")


def _environment_key(environ: Mapping[str, str]) -> Key | None:
    """The key from the first family that is set. Raises `ConfigurationError` for half a key."""
    for names in KEY_NAMES:
        key_id, secret = environ.get(names.key_id, "").strip(), environ.get(names.secret, "").strip()
        if not key_id and not secret:
            continue
        if not (key_id and secret):
            there, missing = (names.key_id, names.secret) if key_id else (names.secret, names.key_id)
            raise ConfigurationError(f"{there} is set and {missing} is not: set both, or neither")
        token = environ.get(names.token, "").strip() if names.token else ""
        for name, value in ((names.key_id, key_id), (names.secret, secret), (names.token, token)):
            if not (value.isascii() and value.isprintable()):
                raise ConfigurationError(f"{name} holds characters that no key has: expected printable ASCII")
        return Key(key_id, secret, names.key_id, token)
    return None


def _directory_key(data_dir: DataDir) -> Key:
    data_dir.refuse_file()
    found = data_dir.credentials()
    return Key(
        found.access_key_id, found.access_key_secret, f"data directory {data_dir.path}", account_id=found.account_id
    )


def _none_runs(data_dir: DataDir, *, given: bool) -> ConfigurationError:
    """`given`: a flag named the directory, so the environment is ignored."""
    data_dir.refuse_file()
    and_elsewhere = "" if given else f", and {ENDPOINT_NAMES[0]} is not set"
    return ConfigurationError(
        f"no Sesame runs on the data directory {data_dir.path}{and_elsewhere}: "
        'start one with `sesame start`, name the right one with --data-dir or --endpoint, or eval "$(sesame env)"'
    )
