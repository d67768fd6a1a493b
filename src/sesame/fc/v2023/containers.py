"""Container image settings in the format of 2023-03-30 (reference/api.md §5.2).

Called by the inputs and shapes.
"""

from typing import Any

from sesame.model.container import kept_form, without_none
from sesame.model.function import Function

_SENT = (
    "image", "entrypoint", "command", "port", "healthCheckConfig", "acrInstanceId", "accelerationType",
    "registryConfig",
)  # fmt: skip


def neutral(sent: dict[str, Any]) -> dict[str, Any]:
    """Empty settings stay empty, which removes them. Fields that only answers have are left out.

    A port of 0 is none: Terraform's provider always sends one.
    """
    return {name: None if name == "port" and sent.get(name) == 0 else sent.get(name) for name in _SENT} if sent else {}


def answered(document: Function) -> dict[str, Any] | None:
    """Includes port and health check, which the older APIs keep separately, and the image that is actually run."""
    settings = document.custom_container_config
    if not settings:
        return None
    kept = kept_form(settings)
    beside = {"port": document.ca_port, "healthCheckConfig": document.custom_health_check_config}
    found = without_none(beside | {"resolvedImageUri": kept.get("image")})
    return found | without_none({name: kept.get(name) for name in _SENT})
