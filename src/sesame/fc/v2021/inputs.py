"""The bodies of API 2021-04-06 that differ from those of other versions with services (reference/api.md §4).

Decoded by `fc.wire_json`, which matches keys in any case and drops null; `neutral` makes of each what `control` takes.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from sesame.control import inputs as control
from sesame.fc import wire_json
from sesame.fc.refusals import InvalidArgument
from sesame.fc.services import inputs
from sesame.model import described
from sesame.model.service import OssMountConfig


class ServiceInput(inputs.ServiceInput, frozen=True, kw_only=True, rename="camel"):
    """Body of CreateService and UpdateService."""

    oss_mount_config: OssMountConfig | UnsetType = UNSET


class TriggerInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of CreateTrigger and UpdateTrigger; `triggerConfig` is the JSON text of an object."""

    trigger_name: described.TriggerName | UnsetType = UNSET
    trigger_type: str | UnsetType = UNSET
    trigger_config: str | UnsetType = UNSET
    source_arn: str | UnsetType = UNSET
    invocation_role: str | UnsetType = UNSET
    description: described.Description | UnsetType = UNSET
    qualifier: str | UnsetType = UNSET

    def neutral(self) -> control.TriggerInput:
        """Raises `InvalidArgument` for text that is no JSON object."""
        sent = {field: getattr(self, field) for field in self.__struct_fields__}
        return control.TriggerInput(**sent | {"trigger_config": _object(self.trigger_config)})


class GpuInstanceInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of ClaimGPUInstance, which is refused whatever it says."""

    instance_type: str = ""
    image_id: str = ""


class EventSourceInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of RegisterEventSource."""

    source_arn: str = ""


def _object(text: str | UnsetType) -> dict[str, Any] | UnsetType:
    if text is UNSET:
        return UNSET
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(
            f"TriggerConfig is set to an invalid value (allowed: the JSON text of an object, actual: '{text[:64]}'): "
            f"{error}"
        ) from error
    if not isinstance(found, dict):
        raise InvalidArgument.of("TriggerConfig", "the JSON text of an object", text[:64])
    wire_json.check_values(found)
    return found
