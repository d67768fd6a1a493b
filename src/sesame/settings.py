"""Defines every setting once: flags, environment variables and file keys derive from its name.

Read by the command line and `app`; docs/settings.md contains the output of `as_markdown`.
Lower packages do not import this module: they are passed the values they need.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from sesame.model.errors import ConfigurationError
from sesame.settings_checks import check
from sesame.settings_fields import CHOICES, Settings
from sesame.settings_file import content_of

__all__ = ["CHOICES", "TABLE", "Setting", "Settings", "as_markdown", "load"]

ENVIRONMENT_PREFIX = "SESAME_"
# Similarity (0 to 1) from which a variable's name, without the prefix, counts as a misspelt setting. An additional word
# must not count: Kubernetes sets SESAME_FC_PORT in each container beside a Service called sesame-fc.
MISSPELT = 0.83
# Values that are never printed.
SECRETS = frozenset({"access_key_secret", "database", "objects"})

# What a numeric setting expects, in place of the decoder's Python type names.
_NUMBERS: dict[object, str] = {int: "a whole number", int | None: "a whole number", float: "a number"}
# What a setting of pairs expects on the command line, by its type.
_PAIRS: dict[object, str] = {dict[str, Path]: "RUNTIME=PATH", dict[str, str]: "ARN=URL"}


class Setting(msgspec.Struct, frozen=True):
    """One row of the table, for a field of `Settings`. A setting that is a TOML table has no flag and no variable."""

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
    """Resolves every setting: flag > environment > file > default. A flag that is None was not given.

    `config_file` defaults to `SESAME_CONFIG`, else `sesame.toml` in the working directory if it exists.
    Raises `ConfigurationError` naming the setting, where it was set, and what was expected.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    path, content = content_of(config_file, environ, tuple(TABLE))
    for name, raw in content.items():
        values[name] = _convert(TABLE[name], raw, f"`{name}` in {path}")
    _refuse_misspelt(environ)
    for name, setting in TABLE.items():
        if setting.environment and (raw := environ.get(setting.environment)):
            values[name] = _convert(setting, raw, setting.environment)
    for name, raw in (flags or {}).items():
        if raw is not None:
            values[name] = _convert(TABLE[name], raw, TABLE[name].flag)
    settings = Settings(**values)
    check(settings)
    return settings


def as_markdown() -> str:
    """The table in docs/settings.md."""
    lines = ["| flag | environment | `sesame.toml` | default | meaning |", "|---|---|---|---|---|"]
    for row in TABLE.values():
        flag, environment = (f"`{row.flag}`", f"`{row.environment}`") if row.flag else ("", "")
        lines.append(f"| {flag} | {environment} | `{row.name}` | {row.shown_default} | {row.meaning} |")
    return "\n".join(lines) + "\n"


def _refuse_misspelt(environ: Mapping[str, str]) -> None:
    """Refuses misspelt variables, but not others, which may belong to other programs."""
    names = [each.environment.removeprefix(ENVIRONMENT_PREFIX) for each in TABLE.values() if each.environment]
    for variable in environ:
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name == variable or name in names:
            continue
        if near := difflib.get_close_matches(name, names, n=1, cutoff=MISSPELT):
            meant = f"{ENVIRONMENT_PREFIX}{near[0]}"
            raise ConfigurationError(f"there is no setting {variable}, which is set; did you mean {meant}?")


def _convert(setting: Setting, raw: Any, source: str) -> Any:
    if setting.kind == tuple[str, ...] and isinstance(raw, str):
        raw = [part.strip() for part in raw.split(",") if part.strip()]
    if setting.kind in _PAIRS and isinstance(raw, str):
        raw = _pairs(raw, source, _PAIRS[setting.kind])
    try:
        return msgspec.convert(raw, setting.kind, strict=False, dec_hook=_decode_path)
    except (msgspec.ValidationError, ValueError) as error:
        shown = "(not shown)" if setting.name in SECRETS else f"'{raw}'"
        expected = f"expected {_NUMBERS[setting.kind]}" if setting.kind in _NUMBERS else error
        # Kubernetes sets such addresses in every container: SESAME_PORT, for a Service called sesame.
        if source == setting.environment and str(raw).startswith("tcp://"):
            expected = f"{expected}; where Kubernetes sets it for a Service, set enableServiceLinks: false of the pod"
        raise ConfigurationError(f"{source} is set to an invalid value {shown}: {expected}") from error


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
