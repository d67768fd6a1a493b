"""Converts records of services, functions, aliases and triggers into the answers of the API.

Called by the routes (reference/api.md §3.1, §3.2, §3.4, §3.5). Answers contain neither code nor secrets.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from sesame.fc.services import containers
from sesame.fc.shapes import times
from sesame.model import limits
from sesame.model import trigger_configs as configs
from sesame.model.alias import Alias
from sesame.model.function import Function, InstanceLifecycleConfig
from sesame.model.records import Record
from sesame.model.service import LogConfig, NasConfig, Service, TracingConfig, VpcConfig
from sesame.model.trigger import Trigger, parts_of_parent


class ServiceAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Only ListServices includes `tags`, and only for a service that has some.

    Sesame's own field `logProblem` in GetService states why function output does not reach the logstore of `logConfig`.
    """

    service_name: str
    service_id: str
    description: str
    role: str
    log_config: LogConfig
    vpc_config: VpcConfig
    internet_access: bool
    nas_config: NasConfig
    tracing_config: TracingConfig
    created_time: str
    last_modified_time: str
    tags: dict[str, str] | UnsetType = UNSET
    log_problem: str | UnsetType = UNSET


class FunctionAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    function_name: str
    function_id: str
    description: str
    runtime: str
    handler: str
    initializer: str
    timeout: int
    initialization_timeout: int
    memory_size: int
    code_size: int
    code_checksum: str
    environment_variables: dict[str, str]
    instance_concurrency: int
    instance_soft_concurrency: int | None
    instance_type: str
    instance_lifecycle_config: InstanceLifecycleConfig | None
    layers: tuple[str, ...]
    ca_port: int | None
    custom_container_config: dict[str, Any] | None
    custom_runtime_config: dict[str, Any] | None
    custom_health_check_config: dict[str, Any] | None
    custom_dns: dict[str, Any] | None = msgspec.field(name="customDNS")
    gpu_memory_size: int | None
    cpu: float | None
    disk_size: int | None
    created_time: str
    last_modified_time: str


class AliasAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    alias_name: str
    version_id: str
    description: str
    additional_version_weight: dict[str, float] | None
    resolve_policy: str
    route_policy: dict[str, Any] | None
    created_time: str
    last_modified_time: str


class TriggerAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Only HTTP triggers have URLs."""

    trigger_name: str
    trigger_id: str
    trigger_type: str
    description: str
    source_arn: str | None
    invocation_role: str
    qualifier: str | None
    trigger_config: dict[str, Any]
    created_time: str
    last_modified_time: str
    url_internet: str | UnsetType = UNSET
    url_intranet: str | UnsetType = UNSET


def service(record: Record, tags: Mapping[str, str] | None = None, log_problem: str = "") -> ServiceAnswer:
    """The answer of GetService; with `tags`, an item of ListServices."""
    document: Service = record.document
    return ServiceAnswer(
        service_name=document.service_name,
        service_id=document.service_id,
        description=document.description,
        role=document.role,
        log_config=document.log_config,
        vpc_config=document.vpc_config,
        internet_access=document.internet_access,
        nas_config=document.nas_config,
        tracing_config=document.tracing_config,
        tags=dict(tags) if tags else UNSET,
        log_problem=log_problem or UNSET,
        **times(record),
    )


def function(record: Record) -> FunctionAnswer:
    """The answer of GetFunction."""
    document: Function = record.document
    return FunctionAnswer(
        function_name=document.function_name,
        function_id=document.function_id,
        description=document.description,
        runtime=document.runtime,
        handler=document.handler,
        initializer=document.initializer,
        timeout=document.timeout,
        initialization_timeout=document.initialization_timeout,
        memory_size=document.memory_size,
        code_size=document.package.size_bytes,
        code_checksum=document.package.checksum,
        environment_variables=document.environment_variables,
        instance_concurrency=document.instance_concurrency,
        instance_soft_concurrency=document.instance_soft_concurrency,
        instance_type=document.instance_type,
        instance_lifecycle_config=document.instance_lifecycle_config,
        layers=document.layers,
        ca_port=document.ca_port,
        custom_container_config=containers.answered(document.custom_container_config),
        custom_runtime_config=document.custom_runtime_config,
        custom_health_check_config=document.custom_health_check_config,
        custom_dns=document.custom_dns,
        gpu_memory_size=document.gpu_memory_size,
        cpu=document.cpu,
        disk_size=document.disk_size,
        **times(record),
    )


def alias(record: Record) -> AliasAnswer:
    document: Alias = record.document
    return AliasAnswer(
        alias_name=document.alias_name,
        version_id=document.version_id,
        description=document.description,
        additional_version_weight=document.additional_version_weight,
        resolve_policy=document.resolve_policy,
        route_policy=document.route_policy,
        **times(record),
    )


def trigger(record: Record, base: str) -> TriggerAnswer:
    """`base` is the `http://host:port` under which the caller reached this server."""
    document: Trigger = record.document
    url: str | UnsetType = UNSET
    if document.trigger_type == configs.HTTP:
        name, function_name = parts_of_parent(record.parent)
        qualified = f"{name}.{document.qualifier}" if document.qualifier not in ("", limits.LATEST) else name
        url = f"{base}/2016-08-15/proxy/{qualified}/{function_name}/"
    return TriggerAnswer(
        trigger_name=document.trigger_name,
        trigger_id=document.trigger_id,
        trigger_type=document.trigger_type,
        description=document.description,
        source_arn=document.source_arn,
        invocation_role=document.invocation_role,
        qualifier=document.qualifier or None,
        trigger_config=document.trigger_config,
        url_internet=url,
        url_intranet=url,
        **times(record),
    )
