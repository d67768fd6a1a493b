"""A function: a handler in a code package, with its limits and environment.

Created by `control`, stored by `store.catalog`, read by the engine and the endpoints.
Field names and defaults follow reference/api.md §3.2; on the wire they are lowerCamelCase.
"""

from typing import Any

import msgspec

from sesame.model import limits
from sesame.model.described import Handler, HookTimeoutS
from sesame.model.later_settings import LaterSettings


class Package(msgspec.Struct, frozen=True, rename="camel"):
    """A code archive named by its hash. `checksum` is CRC-64/XZ as an unsigned decimal string (reference/api.md §2)."""

    sha256: str
    checksum: str
    size_bytes: int


class LifecycleHook(msgspec.Struct, frozen=True, rename="camel"):
    handler: Handler = ""
    timeout: HookTimeoutS = 3


class InstanceLifecycleConfig(msgspec.Struct, frozen=True, rename="camel"):
    pre_freeze: LifecycleHook | None = None
    pre_stop: LifecycleHook | None = None


class Function(msgspec.Struct, frozen=True, rename="camel"):
    """A function's current configuration or, inside a version, a frozen one. Its record has the times and the etag.

    `timeout` and `initialization_timeout` are in seconds, `memory_size` and `disk_size` in MB.
    Settings of runtimes that Sesame does not run are stored as sent.
    """

    function_name: str
    function_id: str
    runtime: str
    handler: str
    package: Package
    description: str = ""
    initializer: str = ""
    timeout: int = limits.TIMEOUT_S_DEFAULT
    initialization_timeout: int = limits.INITIALIZATION_TIMEOUT_S_DEFAULT
    memory_size: int = limits.MEMORY_MB_DEFAULT
    environment_variables: dict[str, str] = {}
    instance_concurrency: int = limits.INSTANCE_CONCURRENCY_DEFAULT
    instance_soft_concurrency: int | None = None
    instance_type: str = "e1"
    instance_lifecycle_config: InstanceLifecycleConfig | None = None
    layers: tuple[str, ...] = ()
    ca_port: int | None = None
    custom_container_config: dict[str, Any] | None = None
    custom_runtime_config: dict[str, Any] | None = None
    custom_health_check_config: dict[str, Any] | None = None
    custom_dns: dict[str, Any] | None = msgspec.field(default=None, name="customDNS")
    gpu_memory_size: int | None = None
    cpu: float | None = None
    disk_size: int = limits.DISK_MB_DEFAULT
    later: LaterSettings = LaterSettings()
