"""Settings of functions that are web servers: how one starts, where it listens, when it is ready.

Validated by `control`, read by `model.snapshot`. reference/api.md §3.2 and §5, reference/runtime.md §14.
"""

from typing import Annotated, Any

import msgspec

from sesame.model.limits import CUSTOM_RUNTIMES, NODE_RUNTIMES

PORT_DEFAULT = 9000
ARGUMENTS_MAX = 64
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
# Without NUL, which no program argument can contain.
Argument = Annotated[str, msgspec.Meta(max_length=4096, pattern=r"^[^\x00]*$")]
Arguments = Annotated[tuple[Argument, ...], msgspec.Meta(max_length=ARGUMENTS_MAX)]


class HealthCheck(msgspec.Struct, frozen=True, rename="camel"):
    """A server is ready once GET `http_get_url` returned a status below 400 `success_threshold` times in a row.

    The start has failed after `failure_threshold` failures in a row. Seconds and thresholds have the cloud's bounds.
    """

    http_get_url: Annotated[str, msgspec.Meta(max_length=1024, pattern=r"^(/[!-~]*)?$")] = ""
    initial_delay_seconds: Annotated[int, msgspec.Meta(ge=0, le=120)] = 0
    period_seconds: Annotated[int, msgspec.Meta(ge=1, le=120)] = 3
    timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=3)] = 1
    failure_threshold: Annotated[int, msgspec.Meta(ge=1, le=120)] = 3
    success_threshold: Annotated[int, msgspec.Meta(ge=1, le=120)] = 1


class ServerConfig(msgspec.Struct, frozen=True, rename="camel"):
    """`customRuntimeConfig`. API 2023-03-30 has port and health check here; earlier versions have them beside it."""

    command: Arguments | None = None
    args: Arguments | None = None
    port: Port | None = None
    health_check_config: HealthCheck | None = None


class WebServer(msgspec.Struct, frozen=True):
    """A program and its arguments; an empty `command` runs the package's `bootstrap`.

    If `listens` is false, the program is an image's with `webServerMode` false: it runs once per event, in an instance
    of its own (reference/api.md §4.1).
    """

    command: tuple[str, ...] = ()
    port: int = PORT_DEFAULT
    health_check: HealthCheck | None = None
    listens: bool = True


def is_web_server(runtime: str) -> bool:
    """Whether the runtime's functions are web servers, called over HTTP."""
    return runtime in NODE_RUNTIMES or runtime in CUSTOM_RUNTIMES


def is_custom(runtime: str) -> bool:
    """Whether the function brings its own program."""
    return runtime in CUSTOM_RUNTIMES


def config_of(settings: dict[str, Any] | None) -> ServerConfig:
    """Raises `msgspec.ValidationError` for malformed settings."""
    return msgspec.convert(settings or {}, ServerConfig)


def health_check_of(settings: dict[str, Any] | None) -> HealthCheck | None:
    """See `config_of`; None if the check has no URL."""
    check = msgspec.convert(settings or {}, HealthCheck)
    return check if check.http_get_url else None


def web_server_of(config: ServerConfig, port: int | None, check: HealthCheck | None) -> WebServer:
    """`port` and `check` are the settings beside `customRuntimeConfig`."""
    own_check = config.health_check_config
    return WebServer(
        command=(*(config.command or ()), *(config.args or ())),
        port=config.port or port or PORT_DEFAULT,
        health_check=own_check if own_check is not None and own_check.http_get_url else check,
    )
