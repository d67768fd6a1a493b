"""Container images of functions: the settings of runtime custom-container, and the configuration inside an image.

Settings are stored in one form, whichever API version sent them: that of 2023-03-30 (reference/api.md §5), plus
`webServerMode` and the JSON texts of both lists from earlier API versions.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from sesame.model.errors import SesameError
from sesame.model.web_server import Arguments, HealthCheck, Port, ServerConfig, WebServer, web_server_of

IMAGE_CHARS = 1024
# The search path of an image that sets none, the same as Docker's.
PATH_DEFAULT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMMAND_TEXT, ARGS_TEXT = "commandText", "argsText"
# Keys of API versions before 2023-03-30, as earlier releases of Sesame stored them.
_FORMER = {"args", "instanceID"}


class ImageUnavailable(SesameError):
    """An image cannot be run. The message states what was found, what was expected and what to do."""


class ContainerConfig(msgspec.Struct, frozen=True, rename="camel"):
    """`entrypoint` and `command` replace those of the image. Fields that Sesame does not use are kept for the API."""

    image: Annotated[str, msgspec.Meta(min_length=1, max_length=IMAGE_CHARS, pattern=r"^[!-~]*$")]
    entrypoint: Arguments | None = None
    command: Arguments | None = None
    port: Port | None = None
    health_check_config: HealthCheck | None = None
    acr_instance_id: str | None = None
    acceleration_type: str | None = None
    registry_config: dict[str, Any] | None = None
    web_server_mode: bool = True


class ContainerImage(msgspec.Struct, frozen=True):
    """The image of a function's instances; None uses the image's own list."""

    reference: str
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The image's own run configuration. `user_id` and `group_id` own the files that its program may change."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    working_dir: str = "/"
    user_id: int = 0
    group_id: int = 0
    home: str = "/"

    def program(self, image: ContainerImage) -> tuple[str, ...]:
        """The program to run. As in Docker, replacing the entrypoint drops the image's command."""
        if image.entrypoint:
            return (*image.entrypoint, *(image.command or ()))
        return (*self.entrypoint, *(self.command if image.command is None else image.command))


def config_of(settings: Mapping[str, Any] | None) -> ContainerConfig:
    """Raises `msgspec.ValidationError` for malformed settings."""
    return msgspec.convert(kept_form(settings or {}), ContainerConfig)


def container_image_of(config: ContainerConfig) -> ContainerImage:
    # An empty list replaces nothing: SDKs send one for an unset field.
    return ContainerImage(config.image, config.entrypoint or None, config.command or None)


def container_server_of(config: ContainerConfig, port: int | None, check: HealthCheck | None) -> WebServer:
    """Like `web_server_of`, but without the program, which is known only once the image is read."""
    if not config.web_server_mode:
        return WebServer(listens=False)
    return web_server_of(ServerConfig(port=config.port, health_check_config=config.health_check_config), port, check)


def kept_form(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Converts settings stored as an API version before 2023-03-30 sent them into the current form."""
    if not (_FORMER & settings.keys() or isinstance(settings.get("command"), str)):
        return settings
    return without_none(neutral_form(settings))


def neutral_form(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Converts settings of an API version before 2023-03-30: its `command` is an image's entrypoint, its `args` the
    command.

    Fields that were not sent become None. A text that is not JSON stays a text, which `config_of` refuses.
    """
    entrypoint, command = sent.get("command"), sent.get("args")
    return {
        "image": sent.get("image"),
        "entrypoint": _list_of(entrypoint),
        COMMAND_TEXT: entrypoint if isinstance(entrypoint, str) and entrypoint else None,
        "command": _list_of(command),
        ARGS_TEXT: command if isinstance(command, str) and command else None,
        "accelerationType": sent.get("accelerationType"),
        "acrInstanceId": sent.get("instanceID"),
        "webServerMode": sent.get("webServerMode"),
    }


def without_none(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _list_of(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    if not given:
        return None
    try:
        return msgspec.json.decode(given)
    except (ValueError, RecursionError):
        return given
