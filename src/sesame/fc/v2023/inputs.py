"""The request bodies of 2023-03-30 for functions, as the OpenAPI document shows them (reference/api.md §5.2).

Decoded by `fc.wire_json`, which matches keys in any case and drops null. A function's body contains settings of the
function and settings of its owner; `of_function` and `of_owner` separate them.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from sesame.control import inputs as control
from sesame.fc.refusals import InvalidArgument
from sesame.fc.v2023 import containers
from sesame.model import described
from sesame.model.function import InstanceLifecycleConfig, LifecycleHook
from sesame.model.service import LogConfig, NasConfig, OssMountConfig, TracingConfig, VpcConfig


class CodeInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A base64-encoded zip, or an object in a bucket; `checksum`, if sent, is the CRC-64 that the code must have."""

    zip_file: str = ""
    oss_bucket_name: str = ""
    oss_object_name: str = ""
    checksum: str = ""

    def neutral(self) -> control.CodeInput:
        return control.CodeInput(
            zip_file=self.zip_file, oss_bucket_name=self.oss_bucket_name, oss_object_name=self.oss_object_name
        )


class Tag(msgspec.Struct, frozen=True, rename="pascal"):
    key: str
    value: str = ""


class HookInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A handler or, in custom runtimes, a command; `timeout` in seconds."""

    handler: described.Handler = ""
    command: tuple[str, ...] = ()
    timeout: int = 3


class LifecycleInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    initializer: HookInput | None = None
    pre_stop: HookInput | None = None


class LogInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    project: str = ""
    logstore: str = ""
    enable_request_metrics: bool = False
    enable_instance_metrics: bool = False
    enable_llm_metrics: bool = False
    log_begin_rule: str = ""


class GpuInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    gpu_memory_size: int | None = None
    gpu_type: str = ""


class FunctionInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of CreateFunction and UpdateFunction. A part that is sent replaces the old one; an empty part removes it."""

    function_name: described.FunctionName | UnsetType = UNSET
    runtime: described.Runtime | UnsetType = UNSET
    handler: described.Handler | UnsetType = UNSET
    code: CodeInput | UnsetType = UNSET
    description: described.Description | UnsetType = UNSET
    timeout: described.TimeoutS | UnsetType = UNSET
    memory_size: described.MemoryMb | UnsetType = UNSET
    environment_variables: dict[str, str] | UnsetType = UNSET
    instance_concurrency: described.Concurrency | UnsetType = UNSET
    instance_lifecycle_config: LifecycleInput | UnsetType = UNSET
    layers: tuple[str, ...] | UnsetType = UNSET
    custom_container_config: dict[str, Any] | UnsetType = UNSET
    custom_runtime_config: dict[str, Any] | UnsetType = UNSET
    custom_dns: dict[str, Any] | UnsetType = msgspec.field(default=UNSET, name="customDNS")
    gpu_config: GpuInput | UnsetType = UNSET
    cpu: described.Cpu | UnsetType = UNSET
    disk_size: described.DiskMb | UnsetType = UNSET
    role: str | UnsetType = UNSET
    log_config: LogInput | UnsetType = UNSET
    vpc_config: VpcConfig | UnsetType = UNSET
    internet_access: bool | UnsetType = UNSET
    nas_config: NasConfig | UnsetType = UNSET
    oss_mount_config: OssMountConfig | UnsetType = UNSET
    tracing_config: TracingConfig | UnsetType = UNSET
    session_affinity: str | UnsetType = UNSET
    session_affinity_config: str | UnsetType = UNSET
    instance_isolation_mode: str | UnsetType = UNSET
    idle_timeout: int | UnsetType = UNSET
    disable_ondemand: bool | UnsetType = UNSET
    disable_inject_credentials: str | UnsetType = UNSET
    enable_long_living: bool | UnsetType = UNSET
    juice_fs_config: dict[str, Any] | UnsetType = UNSET
    polar_fs_config: dict[str, Any] | UnsetType = UNSET
    micro_sandbox_config: dict[str, Any] | UnsetType = UNSET
    resource_group_id: str | UnsetType = UNSET
    tags: tuple[Tag, ...] | UnsetType = UNSET

    def of_function(self) -> control.FunctionInput:
        fields: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN}
        if self.code is not UNSET:
            fields |= {"code": self.code.neutral(), "expected_checksum": self.code.checksum or UNSET}
        if self.gpu_config is not UNSET and self.gpu_config.gpu_memory_size is not None:
            fields["gpu_memory_size"] = self.gpu_config.gpu_memory_size
        if self.custom_container_config is not UNSET:
            fields["custom_container_config"] = containers.neutral(self.custom_container_config)
        hooks = self.instance_lifecycle_config
        if hooks is not UNSET:
            fields |= _hooks(hooks)
        return control.FunctionInput(**fields, later=self._later())

    def of_owner(self) -> control.ServiceInput:
        fields: dict[str, Any] = {name: getattr(self, name) for name in _OF_OWNER}
        sent = self.log_config
        if sent is not UNSET:
            fields["log_config"] = LogConfig(
                project=sent.project,
                logstore=sent.logstore,
                enable_request_metrics=sent.enable_request_metrics,
                enable_instance_metrics=sent.enable_instance_metrics,
                log_begin_rule=sent.log_begin_rule,
            )
        return control.ServiceInput(**fields)

    def _later(self) -> dict[str, Any]:
        """Settings that exist only in this API; empty objects remove earlier settings."""
        found = {name: value for name in _LATER if (value := getattr(self, name)) is not UNSET}
        found |= {name: None for name in _LATER_OBJECTS & found.keys() if not found[name]}
        if self.gpu_config is not UNSET:
            found["gpu_type"] = self.gpu_config.gpu_type
        if self.log_config is not UNSET:
            found["enable_llm_metrics"] = self.log_config.enable_llm_metrics
        hooks = self.instance_lifecycle_config
        if hooks is not UNSET:
            found["initializer_command"] = hooks.initializer.command if hooks.initializer else ()
            pre_stop = hooks.pre_stop or HookInput()
            found |= {"pre_stop_command": pre_stop.command, "pre_stop_timeout": pre_stop.timeout}
        return found

    def tags_by_key(self) -> dict[str, str]:
        return {} if self.tags is UNSET else by_key(self.tags)


def _hooks(sent: LifecycleInput) -> dict[str, Any]:
    """FC 3.0 treats the initializer as a hook, and has no hook before a freeze."""
    initializer, pre_stop = sent.initializer or HookInput(), sent.pre_stop or HookInput()
    return {
        "initializer": initializer.handler,
        "initialization_timeout": initializer.timeout,
        "instance_lifecycle_config": InstanceLifecycleConfig(
            pre_stop=LifecycleHook(pre_stop.handler, pre_stop.timeout)
        ),
    }


def by_key(tags: tuple[Tag, ...]) -> dict[str, str]:
    """Raises `InvalidArgument` for a duplicate key."""
    found = {tag.key: tag.value for tag in tags}
    if len(found) != len(tags):
        raise InvalidArgument.of("Tags", "every key once", ", ".join(tag.key for tag in tags)[:64])
    return found


_PLAIN = (
    "function_name", "runtime", "handler", "description", "timeout", "memory_size", "environment_variables",
    "instance_concurrency", "layers", "custom_container_config", "custom_runtime_config", "custom_dns", "cpu",
    "disk_size",
)  # fmt: skip
_OF_OWNER = ("role", "vpc_config", "internet_access", "nas_config", "oss_mount_config", "tracing_config")
_LATER_OBJECTS = frozenset({"juice_fs_config", "polar_fs_config", "micro_sandbox_config"})
_LATER = (
    "session_affinity", "session_affinity_config", "instance_isolation_mode", "idle_timeout", "disable_ondemand",
    "disable_inject_credentials", "enable_long_living", *sorted(_LATER_OBJECTS),
)  # fmt: skip
