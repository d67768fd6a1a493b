"""Request bodies of API 2021-04-06 that differ from those of other versions with services (reference/api.md §4).

Decoded by `fc.wire_json`, which matches keys in any case and drops null; `neutral` converts each to `control`'s input.
"""

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from sesame.control import inputs as control
from sesame.fc.json_text import object_of
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
        """Raises `InvalidArgument` if the configuration is not a JSON object."""
        config = self.trigger_config
        parsed = config if config is UNSET else object_of(config, "TriggerConfig")
        return control.TriggerInput(**asdict(self) | {"trigger_config": parsed})


class GpuInstanceInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of ClaimGPUInstance, which is always refused."""

    instance_type: str = ""
    image_id: str = ""


class EventSourceInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of RegisterEventSource."""

    source_arn: str = ""
