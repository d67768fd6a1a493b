"""Converts functions, aliases and triggers into the answers of 2023-03-30 (reference/api.md §5.2).

Called by the routes. Answers contain neither code nor secrets.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from sesame.control.whole_functions import WholeFunction
from sesame.fc.shapes import time, times
from sesame.fc.v2023 import containers
from sesame.fc.v2023.inputs import GpuInput, HookInput, LifecycleInput, LogInput, Tag
from sesame.model import limits, session_affinity
from sesame.model import trigger_configs as configs
from sesame.model.alias import Alias
from sesame.model.arn import Arns
from sesame.model.function import Function
from sesame.model.function_state import FunctionState
from sesame.model.records import Record
from sesame.model.service import NasConfig, OssMountConfig, Service, TracingConfig, VpcConfig
from sesame.model.trigger import Trigger, parts_of_parent

ACTIVE, SUCCESSFUL = "Active", "Successful"
# The cloud's answer if nothing was chosen.
SHARED = "SHARE"


class FunctionLayer(msgspec.Struct, frozen=True, rename="camel"):
    arn: str
    size: int


class Restriction(msgspec.Struct, frozen=True, rename="camel"):
    disable: bool
    last_modified_time: str
    reason: str


class FunctionAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A function is active immediately, because its code is unpacked before the answer."""

    function_name: str
    function_arn: str
    function_id: str
    description: str
    runtime: str
    handler: str
    timeout: int
    memory_size: int
    cpu: float | None
    disk_size: int
    code_size: int
    code_checksum: str
    environment_variables: dict[str, str]
    instance_concurrency: int
    instance_lifecycle_config: LifecycleInput
    layers: tuple[FunctionLayer, ...]
    custom_container_config: dict[str, Any] | None
    custom_runtime_config: dict[str, Any] | None
    custom_dns: dict[str, Any] | None = msgspec.field(name="customDNS")
    gpu_config: GpuInput | None
    role: str
    log_config: LogInput
    vpc_config: VpcConfig
    internet_access: bool
    nas_config: NasConfig
    oss_mount_config: OssMountConfig
    tracing_config: TracingConfig
    session_affinity: str
    session_affinity_config: str
    instance_isolation_mode: str
    idle_timeout: int | None
    disable_ondemand: bool
    disable_inject_credentials: str
    enable_long_living: bool
    juice_fs_config: dict[str, Any] | None
    polar_fs_config: dict[str, Any] | None
    micro_sandbox_config: dict[str, Any] | None
    invocation_restriction: Restriction | UnsetType = UNSET
    resource_group_id: str
    tags: tuple[Tag, ...]
    state: str = ACTIVE
    state_reason: str = ""
    state_reason_code: str = ""
    last_update_status: str = SUCCESSFUL
    last_update_status_reason: str = ""
    last_update_status_reason_code: str = ""
    created_time: str
    last_modified_time: str


class AliasAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    alias_name: str
    version_id: str
    description: str
    additional_version_weight: dict[str, float] | None
    created_time: str
    last_modified_time: str


class HttpUrls(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    url_internet: str
    url_intranet: str


class TriggerAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`triggerConfig` is JSON text; only HTTP triggers have URLs."""

    trigger_name: str
    trigger_id: str
    trigger_type: str
    trigger_config: str
    description: str
    qualifier: str
    invocation_role: str
    source_arn: str | None
    target_arn: str
    status: str
    created_time: str
    last_modified_time: str
    http_trigger: HttpUrls | UnsetType = UNSET


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """Data about a function that is stored in other records."""

    state: FunctionState
    tags: Mapping[str, str]
    layer_sizes: Mapping[str, int]


def function(whole: WholeFunction, arns: Arns, beside: Beside, qualifier: str = "") -> FunctionAnswer:
    document: Function = whole.function.document
    owner: Service = whole.owner.document
    later = document.later
    hooks = document.instance_lifecycle_config
    pre_stop = hooks.pre_stop if hooks else None
    return FunctionAnswer(
        function_name=whole.name,
        function_arn=arns.spoken_function(whole.function.parent, whole.function.name, qualifier),
        function_id=document.function_id,
        description=document.description,
        runtime=document.runtime,
        handler=document.handler,
        timeout=document.timeout,
        memory_size=document.memory_size,
        cpu=document.cpu,
        disk_size=document.disk_size,
        code_size=document.package.size_bytes,
        code_checksum=document.package.checksum,
        environment_variables=document.environment_variables,
        instance_concurrency=document.instance_concurrency,
        instance_lifecycle_config=LifecycleInput(
            initializer=_hook(document.initializer, later.initializer_command, document.initialization_timeout),
            pre_stop=_hook(
                pre_stop.handler if pre_stop else "",
                later.pre_stop_command,
                pre_stop.timeout if pre_stop else later.pre_stop_timeout,
            ),
        ),
        layers=tuple(FunctionLayer(arn, beside.layer_sizes.get(arn, 0)) for arn in document.layers),
        custom_container_config=containers.answered(document),
        custom_runtime_config=_web_server(document),
        custom_dns=document.custom_dns,
        gpu_config=_gpu(document),
        role=owner.role,
        log_config=LogInput(
            project=owner.log_config.project,
            logstore=owner.log_config.logstore,
            enable_request_metrics=owner.log_config.enable_request_metrics,
            enable_instance_metrics=owner.log_config.enable_instance_metrics,
            enable_llm_metrics=later.enable_llm_metrics,
            log_begin_rule=owner.log_config.log_begin_rule,
        ),
        vpc_config=owner.vpc_config,
        internet_access=owner.internet_access,
        nas_config=owner.nas_config,
        oss_mount_config=owner.oss_mount_config,
        tracing_config=owner.tracing_config,
        session_affinity=later.session_affinity or session_affinity.NONE,
        session_affinity_config=later.session_affinity_config,
        instance_isolation_mode=later.instance_isolation_mode or SHARED,
        idle_timeout=later.idle_timeout,
        disable_ondemand=later.disable_ondemand,
        disable_inject_credentials=later.disable_inject_credentials,
        enable_long_living=later.enable_long_living,
        juice_fs_config=later.juice_fs_config,
        polar_fs_config=later.polar_fs_config,
        micro_sandbox_config=later.micro_sandbox_config,
        invocation_restriction=_restriction(beside.state),
        resource_group_id=beside.state.resource_group_id,
        tags=tuple(Tag(key, value) for key, value in beside.tags.items()),
        **times(whole.function),
    )


def alias(record: Record) -> AliasAnswer:
    document: Alias = record.document
    return AliasAnswer(
        alias_name=document.alias_name,
        version_id=document.version_id,
        description=document.description,
        additional_version_weight=document.additional_version_weight,
        **times(record),
    )


def trigger(record: Record, arns: Arns, url: str) -> TriggerAnswer:
    """`url` is where an HTTP trigger is served."""
    document: Trigger = record.document
    owner, function_name = parts_of_parent(record.parent)
    is_http = document.trigger_type == configs.HTTP
    return TriggerAnswer(
        trigger_name=document.trigger_name,
        trigger_id=document.trigger_id,
        trigger_type=document.trigger_type,
        trigger_config=msgspec.json.encode(document.trigger_config).decode(),
        description=document.description,
        qualifier=document.qualifier or limits.LATEST,
        invocation_role=document.invocation_role,
        source_arn=document.source_arn,
        target_arn=arns.spoken_function(owner, function_name, document.qualifier),
        status=ACTIVE,
        http_trigger=HttpUrls(url_internet=url, url_intranet=url) if is_http else UNSET,
        **times(record),
    )


def _hook(handler: str, command: tuple[str, ...], timeout: int) -> HookInput | None:
    return HookInput(handler=handler, command=command, timeout=timeout) if handler or command else None


def _web_server(document: Function) -> dict[str, Any] | None:
    """Includes port and health check, which the older APIs keep separately."""
    beside = {"port": document.ca_port, "healthCheckConfig": document.custom_health_check_config}
    found = {name: value for name, value in beside.items() if value is not None}
    return (found | (document.custom_runtime_config or {})) or None


def _gpu(document: Function) -> GpuInput | None:
    config = GpuInput(gpu_memory_size=document.gpu_memory_size, gpu_type=document.later.gpu_type)
    return None if config == GpuInput() else config


def _restriction(state: FunctionState) -> Restriction | UnsetType:
    return Restriction(state.disabled, time(state.disabled_at), state.reason) if state.disabled_at else UNSET
