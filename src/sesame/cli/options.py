"""Turns the table of settings into command-line options, so that each flag is defined once.

Used by the commands that accept settings. Defines no setting itself.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sesame import settings

Command = Callable[..., Any]
CONFIG_OPTION = "config"


def with_settings(*names: str) -> Callable[[Command], Command]:
    """Adds `--config` and an option for each named setting (all if none is named); options not given arrive as None."""

    def decorate(command: Command) -> Command:
        for name in reversed(names or tuple(name for name, row in settings.TABLE.items() if row.flag)):
            command = _option(settings.TABLE[name])(command)
        return click.option(
            "--config", type=click.Path(path_type=Path), default=None,
            help="Settings file [SESAME_CONFIG; default: sesame.toml if there is one]",
        )(command)  # fmt: skip

    return decorate


def settle(flags: Mapping[str, Any]) -> settings.Settings:
    """The settings of a command decorated by `with_settings`, from its keyword arguments."""
    known = {name: value for name, value in flags.items() if name in settings.TABLE}
    return settings.load(known, config_file=flags.get(CONFIG_OPTION))


def refuse_given(names: Iterable[str], why: str) -> None:
    """Refuses options of the running command that were given but would have no effect."""
    context = click.get_current_context()
    given = [
        next(parameter.opts[0] for parameter in context.command.params if parameter.name == name)
        for name in names
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"{why}: leave {', '.join(given)} away")


def _option(setting: settings.Setting) -> Callable[[Command], Command]:
    # Paths stay text: `settings` refuses an empty path, which `click.Path` takes for the working directory.
    kinds: dict[Any, Any] = {int: int, int | None: int, float: float}
    kind = kinds.get(setting.kind, str)
    if setting.name in settings.CHOICES:
        kind = click.Choice(settings.CHOICES[setting.name])
    text = f"{setting.meaning} [{setting.environment}; default: {setting.shown_default}]"
    return click.option(setting.flag, setting.name, type=kind, default=None, help=text)
