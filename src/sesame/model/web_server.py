"""The settings of runtimes that are web servers of their own: how one starts, where it listens, when it is ready.

Checked by `control`, read by `model.snapshot`. reference/api.md §3.2 and §5, reference/runtime.md §14.
"""

from typing import Annotated, Any

import msgspec

from sesame.model.limits import CUSTOM_RUNTIMES, NODE_RUNTIMES

PORT_DEFAULT = 9000
ARGUMENTS_MAX = 64
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
# Without a NUL, which no argument of a program can hold.
Argument = Annotated[str, msgspec.Meta(max_length=4096, pattern=r"^[^\x00]*$")]
Arguments = Annotated[tuple[Argument, ...], msgspec.Meta(max_length=ARGUMENTS_MAX)]


class HealthCheck(msgspec.Struct, frozen=True, rename="camel"):
    """A start is over once GET of `http_get_url` was answered below 400 `success_threshold` times in a row.

    It has failed after `failure_threshold` failures in a row. The seconds and thresholds have the cloud's bounds.
    """

    http_get_url: Annotated[str, msgspec.Meta(max_length=1024, pattern=r"^(/[!-~]*)?$")] = ""
    initial_delay_seconds: Annotated[int, msgspec.Meta(ge=0, le=120)] = 0
    period_seconds: Annotated[int, msgspec.Meta(ge=1, le=120)] = 3
    timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=3)] = 1
    failure_threshold: Annotated[int, msgspec.Meta(ge=1, le=120)] = 3
    success_threshold: Annotated[int, msgspec.Meta(ge=1, le=120)] = 1


class ServerConfig(msgspec.Struct, frozen=True, rename="camel"):
    """`customRuntimeConfig`. Port and health check stand here in 2023-03-30, beside it in the versions before."""

    command: Arguments | None = None
    args: Arguments | None = None
    port: Port | None = None
    health_check_config: HealthCheck | None = None


class WebServer(msgspec.Struct, frozen=True):
    """A program and its arguments; an empty `command` is the package's own `bootstrap`.

    One that does not `listen` is an image's with `webServerMode` false: it is run once for each event, in an instance
    of the event's own (reference/api.md §4.1).
    """

    command: tuple[str, ...] = ()
    port: int = PORT_DEFAULT
    health_check: HealthCheck | None = None
    listens: bool = True


def is_web_server(runtime: str) -> bool:
    """Whether the runtime's functions are web servers, which are reached by HTTP."""
    return runtime in NODE_RUNTIMES or runtime in CUSTOM_RUNTIMES


def is_custom(runtime: str) -> bool:
    """Whether the function brings its own program."""
    return runtime in CUSTOM_RUNTIMES


def config_of(settings: dict[str, Any] | None) -> ServerConfig:
    """Raises `msgspec.ValidationError` for settings that have not the form."""
    return msgspec.convert(settings or {}, ServerConfig)


def health_check_of(settings: dict[str, Any] | None) -> HealthCheck | None:
    """As `config_of`; None where no URL is to be asked."""
    check = msgspec.convert(settings or {}, HealthCheck)
    return check if check.http_get_url else None


def web_server_of(config: ServerConfig, port: int | None, check: HealthCheck | None) -> WebServer:
    """`port` and `check` are those that stand beside the configuration."""
    within = config.health_check_config
    return WebServer(
        command=(*(config.command or ()), *(config.args or ())),
        port=config.port or port or PORT_DEFAULT,
        health_check=within if within is not None and within.http_get_url else check,
    )
