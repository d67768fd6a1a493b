"""Every setting once: its name, default and meaning; flags, environment names and file keys derive from the name.

Read by the command line and `app`; docs/settings.md holds what `as_markdown` gives.
Lower packages do not import this module: they are handed the values they need.
"""

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec

from sesame.model import limits
from sesame.model.destinations import is_web_url, without_password
from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes import places
from sesame.settings_file import content_of

ENVIRONMENT_PREFIX = "SESAME_"
CHOICES: dict[str, tuple[str, ...]] = {
    "sandbox": ("auto", "jail", "plain"),
    "cpu": ("shares", "cloud"),
    "calls": ("all", "failed", "none"),
    "record": ("none", "failed", "all"),
    "traces": ("none", "otlp"),
}
CREDENTIALS_VALIDITY_S_MIN = 900
PORT_MAX = 65535
LOG_MAX_MB_MIN = 16
LOG_BYTES_PER_CALL_MIN = 4096
DATABASE_SCHEMES = ("postgresql://", "postgres://")
# Never repeated in what is printed.
SECRETS = frozenset({"access_key_secret", "database"})

# What a setting of pairs expects on the command line, by its type.
_PAIRS: dict[object, str] = {dict[str, Path]: "RUNTIME=PATH", dict[str, str]: "ARN=URL"}
# It stands in ARNs and in the names of hosts.
_REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")


def _meta(meaning: str, *, shown_default: str = "", file_only: bool = False) -> msgspec.Meta:
    return msgspec.Meta(description=meaning, extra={"shown_default": shown_default, "file_only": file_only})


class Settings(msgspec.Struct, frozen=True):
    """All that can be set. A field `data_dir` is the flag `--data-dir`, `SESAME_DATA_DIR` and the key `data_dir`."""

    port: Annotated[int, _meta("Port of the Function Compute endpoint; 0 takes any free one.")] = 9000
    host: Annotated[
        str,
        _meta(
            "Address that every endpoint listens on. Another than a loopback address lets other machines in: add TLS "
            "(`--tls-cert`)."
        ),
    ] = "127.0.0.1"
    https_port: Annotated[
        int | None,
        _meta(
            "Port of the Function Compute endpoint over TLS, for custom domains with certificates; 0 takes any free.",
            shown_default="no TLS",
        ),
    ] = None
    tls_cert: Annotated[
        Path | None,
        _meta(
            "Certificate chain (PEM) with which the endpoints speak TLS, and nothing else, on their ports.",
            shown_default="no TLS",
        ),
    ] = None
    tls_key: Annotated[
        Path | None, _meta("Private key (PEM, without a password) of `--tls-cert`.", shown_default="no TLS")
    ] = None
    oss_port: Annotated[int, _meta("Port of the OSS endpoint; 0 takes any free one.")] = 9001
    sls_port: Annotated[
        int | None,
        _meta(
            "Port of the Log Service endpoint; 0 takes any free one.",
            shown_default="the one after `--oss-port`, or any free one where that is 0",
        ),
    ] = None
    metrics_port: Annotated[
        int | None,
        _meta(
            "Port where operators read `/metrics`, in the format of Prometheus; 0 takes any free one.",
            shown_default="no metrics",
        ),
    ] = None
    metrics_host: Annotated[
        str,
        _meta(
            "Address that `--metrics-port` is on. Whoever reaches it reads the names of functions and their numbers, "
            "without a signature."
        ),
    ] = "127.0.0.1"
    traces: Annotated[
        str,
        _meta(
            "Where OpenTelemetry sends spans of calls: nowhere (`none`), or over `otlp` as the variables `OTEL_…` say, "
            "with the extra `otel`."
        ),
    ] = "none"
    data_dir: Annotated[
        Path, _meta("Directory that holds everything deployed; made when missing, used by one Sesame at a time.")
    ] = Path("sesame-data")
    database: Annotated[
        str | None,
        _meta(
            "URL of a PostgreSQL database that keeps the records of the data directory: "
            "`postgresql://USER:PASSWORD@HOST:PORT/NAME`. Files stay in the directory.",
            shown_default="`sesame.db` in the data directory",
        ),
    ] = None
    sandbox: Annotated[
        str,
        _meta(
            "How functions are isolated: `jail` (Linux), `plain` (a process of its own), or `auto`: what is strongest."
        ),
    ] = "auto"
    cpu: Annotated[
        str, _meta("Processor time in a jail: `shares` of what there is, or a quota by memory size as in the `cloud`.")
    ] = "shares"
    account_id: Annotated[str | None, _meta("Id of the built-in account.", shown_default="made on first start")] = None
    region: Annotated[str, _meta("Region that functions see in `context.region`.")] = "cn-shanghai"
    access_key_id: Annotated[
        str | None, _meta("Access key id of the built-in account.", shown_default="made on first start")
    ] = None
    access_key_secret: Annotated[
        str | None, _meta("Access key secret of the built-in account.", shown_default="made on first start")
    ] = None
    interpreters: Annotated[
        dict[str, Path], _meta("Interpreters to use instead of those found, as RUNTIME=PATH; several with commas.")
    ] = {}
    runtimes_dir: Annotated[
        Path | None,
        _meta(
            "Directory of the packages that come with each runtime.",
            shown_default="share/sesame/runtimes of the virtual environment, else of the user's data directory",
        ),
    ] = None
    interpreters_channel: Annotated[
        str,
        _meta(
            "Conda channel from which `sesame runtimes get` brings CPython 2.7 and 3.6: `https://…` or `file://…`, "
            "such as a mirror of conda-forge."
        ),
    ] = "https://conda.anaconda.org/conda-forge"
    interpreters_mirror: Annotated[
        str | None,
        _meta(
            "Mirror of uv's builds, from which `sesame runtimes get` brings CPython 3.8 and later.",
            shown_default="uv's own source",
        ),
    ] = None
    interpreters_proxy: Annotated[
        str | None,
        _meta("Proxy through which `sesame runtimes get` downloads.", shown_default="the environment's proxies"),
    ] = None
    roles: Annotated[
        dict[str, Any],
        _meta("Roles that are made at a start unless they exist: a table for each, see below.", file_only=True),
    ] = {}
    mounts: Annotated[
        dict[str, Path], _meta("Directories that stand for servers of a NAS: see below.", file_only=True)
    ] = {}
    layers: Annotated[
        dict[str, str], _meta("What stands for the cloud's layers, by ARN: see below.", file_only=True)
    ] = {}
    credentials_validity_s: Annotated[int, _meta("Seconds for which a function's temporary credentials are good.")] = (
        6 * 3600
    )
    keep_alive_s: Annotated[float, _meta("Seconds that an idle instance is kept for the next call.")] = 300.0
    drain_s: Annotated[
        float, _meta("Seconds that running calls get to end when Sesame stops; then they are cancelled.")
    ] = 10.0
    max_instances: Annotated[int, _meta("Most instances of one function at a time; more calls get a 429.")] = 100
    async_retention_days: Annotated[
        float, _meta("Days for which asynchronous invocations that have ended can be listed and read.")
    ] = 7.0
    dead_letter_retention_days: Annotated[
        float, _meta("Days for which records that could not be delivered to their destination are kept.")
    ] = 30.0
    dead_letters_max: Annotated[
        int, _meta("At most so many records that could not be delivered are kept; the oldest go first.")
    ] = 10_000
    destinations: Annotated[
        dict[str, str],
        _meta(
            "URLs for destinations of services that are not here, by the beginning of their ARN, as ARN=URL; several "
            "with commas: `acs:mns:=http://localhost:8080/mns`."
        ),
    ] = {}
    recursion_limit: Annotated[
        int,
        _meta(
            "How often a function may occur among those that led to its own invocation, by calling each other with "
            "their credentials or as destinations; 0 sets no limit."
        ),
    ] = 0
    max_memory_mb: Annotated[
        int | None,
        _meta("Most memory of all instances together, in MB.", shown_default="three quarters of the host's"),
    ] = None
    max_disk_mb: Annotated[
        int | None,
        _meta("Most MB of `/tmp` of all instances together, by their sizes.", shown_default="what the disk has"),
    ] = None
    log_retention_days: Annotated[
        float, _meta("Days for which what functions write is kept; 0 keeps nothing and removes what was kept.")
    ] = 7.0
    log_max_mb: Annotated[
        int, _meta("Most MB of kept logs; beyond it the oldest of the function that has most go first.")
    ] = 512
    log_bytes_per_call: Annotated[
        int, _meta("Most bytes kept of one call's log; of the rest only the end, and a line says how much is missing.")
    ] = 8 * 1024 * 1024

    calls: Annotated[
        str,
        _meta("Which calls `sesame start` shows with a line on its terminal: `all`, `failed` or `none`."),
    ] = "all"

    record: Annotated[
        str,
        _meta(
            "Which calls are recorded for `sesame replay`: `none`, `failed` or `all`; a function may say otherwise "
            "(`sesame record set`)."
        ),
    ] = "none"
    record_max_mb: Annotated[int, _meta("Most MB of recorded calls; beyond it the oldest go first.")] = 256
    record_retention_days: Annotated[float, _meta("Days for which recorded calls are kept.")] = 7.0

    def resolved_sls_port(self) -> int:
        """0 for any free one."""
        if self.sls_port is not None:
            return self.sls_port
        return self.oss_port + 1 if 0 < self.oss_port < PORT_MAX else 0

    def resolved_runtimes_dir(self) -> Path:
        return self.runtimes_dir or places.default_root()


class Setting(msgspec.Struct, frozen=True):
    """One row of the table: everything that is known of a field of `Settings`. A table has no flag and no variable."""

    name: str
    flag: str
    environment: str
    kind: Any
    default: Any
    meaning: str
    shown_default: str


def _table() -> dict[str, Setting]:
    hints = get_type_hints(Settings, include_extras=True)
    rows = {}
    for field in msgspec.structs.fields(Settings):
        meta: msgspec.Meta = hints[field.name].__metadata__[0]
        extra = meta.extra or {}
        default = field.default if field.default is not msgspec.NODEFAULT else {}
        rows[field.name] = Setting(
            name=field.name,
            flag="" if extra["file_only"] else "--" + field.name.replace("_", "-"),
            environment="" if extra["file_only"] else ENVIRONMENT_PREFIX + field.name.upper(),
            kind=hints[field.name].__origin__,
            default=default,
            meaning=str(meta.description),
            shown_default=str(extra["shown_default"] or ("none" if default == {} else default)),
        )
    return rows


TABLE: dict[str, Setting] = _table()


def load(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    config_file: Path | None = None,
) -> Settings:
    """Settles every setting: flag > environment > file > default. A flag that is None was not given.

    `config_file` defaults to `SESAME_CONFIG`, else `sesame.toml` in the working directory if there is one.
    Raises `ConfigurationError` naming the setting, where it was set, and what was expected.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    path, content = content_of(config_file, environ, tuple(TABLE))
    for name, raw in content.items():
        values[name] = _convert(TABLE[name], raw, f"`{name}` in {path}")
    for name, setting in TABLE.items():
        if setting.environment and (raw := environ.get(setting.environment)):
            values[name] = _convert(setting, raw, setting.environment)
    for name, raw in (flags or {}).items():
        if raw is not None:
            values[name] = _convert(TABLE[name], raw, TABLE[name].flag)
    settings = Settings(**values)
    _check(settings)
    return settings


def as_markdown() -> str:
    """The table of docs/settings.md."""
    lines = ["| flag | environment | `sesame.toml` | default | meaning |", "|---|---|---|---|---|"]
    for row in TABLE.values():
        flag, environment = (f"`{row.flag}`", f"`{row.environment}`") if row.flag else ("", "")
        lines.append(f"| {flag} | {environment} | `{row.name}` | {row.shown_default} | {row.meaning} |")
    return "\n".join(lines) + "\n"


def _convert(setting: Setting, raw: Any, source: str) -> Any:
    if setting.kind in _PAIRS and isinstance(raw, str):
        raw = _pairs(raw, source, _PAIRS[setting.kind])
    try:
        return msgspec.convert(raw, setting.kind, strict=False, dec_hook=_decode_path)
    except (msgspec.ValidationError, ValueError) as error:
        shown = "(not shown)" if setting.name in SECRETS else f"'{raw}'"
        raise ConfigurationError(f"{source} is set to an invalid value {shown}: {error}") from error


def _decode_path(kind: type, raw: Any) -> Any:
    if kind is Path and isinstance(raw, str | Path) and str(raw):
        try:
            return Path(raw).expanduser()
        except RuntimeError as error:
            raise ValueError(str(error)) from error
    raise ValueError(f"expected a path, found {raw!r}")


def _pairs(raw: str, source: str, expected: str) -> dict[str, str]:
    pairs = {}
    for part in filter(None, raw.split(",")):
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            raise ConfigurationError(f"{source} is set to an invalid value '{raw}': expected {expected}")
        pairs[name.strip()] = value.strip()
    return pairs


def _check(settings: Settings) -> None:
    for name in ("port", "https_port", "oss_port", "sls_port", "metrics_port"):
        if not 0 <= (getattr(settings, name) or 0) <= PORT_MAX:
            raise ConfigurationError(f"{name} is {getattr(settings, name)}; expected 0 to {PORT_MAX}")
    for name in ("host", "metrics_host"):
        if not getattr(settings, name):
            raise ConfigurationError(
                f"{name} is empty; expected an address, such as 127.0.0.1, or 0.0.0.0 for all of them"
            )
    if (settings.tls_cert is None) != (settings.tls_key is None):
        given, missing = ("tls_cert", "tls_key") if settings.tls_key is None else ("tls_key", "tls_cert")
        raise ConfigurationError(f"{given} is set without {missing}; TLS takes the certificate and its key")
    for name, choices in CHOICES.items():
        if getattr(settings, name) not in choices:
            raise ConfigurationError(f"{name} is '{getattr(settings, name)}'; expected one of {', '.join(choices)}")
    # The value may hold a password, so it is not repeated.
    if settings.database is not None and not settings.database.startswith(DATABASE_SCHEMES):
        raise ConfigurationError(
            "database is no URL of PostgreSQL; expected postgresql://USER:PASSWORD@HOST:PORT/NAME, or nothing for the "
            "database in the data directory"
        )
    if not _REGION.match(settings.region):
        raise ConfigurationError(
            f"region is '{settings.region}'; expected lower-case letters, digits and '-', such as cn-shanghai"
        )
    for prefix, url in settings.destinations.items():
        if not prefix.startswith("acs:") or not is_web_url(url):
            raise ConfigurationError(
                f"destinations has '{prefix}' = '{without_password(url)}'; expected the beginning of an ARN, such as "
                "acs:mns:, and a URL that begins with http:// or https://, without user name and password"
            )
    days = ("async_retention_days", "dead_letter_retention_days", "log_retention_days", "record_retention_days")
    for name in ("keep_alive_s", "drain_s", *days):
        if not math.isfinite(getattr(settings, name)):
            raise ConfigurationError(f"{name} is {getattr(settings, name)}; expected a number that ends")
    least_s = CREDENTIALS_VALIDITY_S_MIN
    if settings.credentials_validity_s < least_s:
        raise ConfigurationError(
            f"credentials_validity_s is {settings.credentials_validity_s}; expected at least {least_s}"
        )
    if settings.keep_alive_s <= 0:
        raise ConfigurationError(f"keep_alive_s is {settings.keep_alive_s}; expected more than 0")
    if settings.max_instances < 1:
        raise ConfigurationError(f"max_instances is {settings.max_instances}; expected at least 1")
    least: dict[str, float] = {
        "drain_s": 0, "log_retention_days": 0, "async_retention_days": 0, "dead_letter_retention_days": 0,
        "dead_letters_max": 0, "record_retention_days": 0, "record_max_mb": 1, "recursion_limit": 0,
        "log_max_mb": LOG_MAX_MB_MIN, "log_bytes_per_call": LOG_BYTES_PER_CALL_MIN,
    }  # fmt: skip
    for name, minimum in least.items():
        if not getattr(settings, name) >= minimum:
            raise ConfigurationError(f"{name} is {getattr(settings, name)}; expected at least {minimum}")
    for name, minimum in (("max_memory_mb", limits.MEMORY_MB_MIN), ("max_disk_mb", limits.DISK_MB_CHOICES[0])):
        if (value := getattr(settings, name)) is not None and value < minimum:
            raise ConfigurationError(f"{name} is {value}; expected at least {minimum}")
