"""Converts settings of functions, layers, domains, instances and sessions into the answers of 2023-03-30.

Called by the routes (reference/api.md §5.2). Answers never contain the private key of a certificate.
"""

from typing import Any

import msgspec

from sesame.engine.interface import InstanceInfo, Provisioned
from sesame.fc.milliseconds import milliseconds
from sesame.fc.shapes import LayerCode, time, times
from sesame.fc.v2023.inputs_settings import SessionSettings
from sesame.model.arn import Arns
from sesame.model.configs import (
    AsyncConfig,
    DestinationConfig,
    ProvisionConfig,
    ScalingConfig,
    ScheduledAction,
    TargetTrackingPolicy,
)
from sesame.model.domain import CustomDomain, RewriteConfig, TlsConfig
from sesame.model.function_state import FunctionState
from sesame.model.layer import LayerVersion
from sesame.model.limits import LATEST
from sesame.model.owner import spoken_function
from sesame.model.records import Record
from sesame.model.session import Session, SessionSnapshot

API_VERSION = "2023-03-30"
NO_SNAPSHOTS = "Failed"
RUNNING = "Running"


class AsyncConfigAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    function_arn: str
    async_task: bool
    destination_config: DestinationConfig
    max_async_event_age_in_seconds: int | None
    max_async_retry_attempts: int | None
    created_time: str
    last_modified_time: str


class ConcurrencyAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    function_arn: str
    reserved_concurrency: int


class ProvisionAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`current` counts the instances that are ready."""

    function_arn: str
    target: int
    default_target: int
    current: int
    current_error: str
    scheduled_actions: tuple[ScheduledAction, ...]
    target_tracking_policies: tuple[TargetTrackingPolicy, ...]
    always_allocate_cpu: bool = msgspec.field(name="alwaysAllocateCPU")
    always_allocate_gpu: bool = msgspec.field(name="alwaysAllocateGPU")


class ScalingAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    function_arn: str
    min_instances: int
    current_instances: int
    target_instances: int
    current_error: str
    enable_on_demand_scaling: bool
    enable_mix_mode: bool
    request_dispatch_policy: str
    resident_pool_id: str
    horizontal_scaling_policies: tuple[dict[str, Any], ...]
    scheduled_policies: tuple[dict[str, Any], ...]


class LayerAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`acl` is "1" for a layer that other accounts may use, else "0"."""

    layer_name: str
    version: int
    layer_version_arn: str
    description: str
    code: LayerCode
    code_size: int
    code_checksum: str
    create_time: str
    acl: str
    compatible_runtime: tuple[str, ...]
    license: str


class CertificateAnswer(msgspec.Struct, frozen=True, rename="camel"):
    cert_name: str
    certificate: str


class RouteAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    path: str
    function_name: str
    qualifier: str
    methods: tuple[str, ...]
    rewrite_config: RewriteConfig | None


class RoutesAnswer(msgspec.Struct, frozen=True, rename="camel"):
    routes: tuple[RouteAnswer, ...]


class DomainAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    domain_name: str
    account_id: str
    api_version: str
    protocol: str
    route_config: RoutesAnswer
    cert_config: CertificateAnswer | None
    tls_config: TlsConfig | None
    waf_config: dict[str, Any] | None
    auth_config: dict[str, Any] | None
    cors_config: dict[str, Any] | None
    is_e2b: bool = msgspec.field(name="isE2B")
    created_time: str
    last_modified_time: str


class InstanceAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A running instance; ended ones are not listed. Times are milliseconds since 1970, 0 if still to come."""

    instance_id: str
    version_id: str
    qualifier: str
    status: str
    resource_type: str
    created_time_ms: int
    destroyed_time_ms: int = 0


class Success(msgspec.Struct, frozen=True):
    success: bool


class GroupAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    resource_id: str
    old_resource_group_id: str
    new_resource_group_id: str


class TagResource(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    resource_id: str
    resource_type: str
    tag_key: str
    tag_value: str


class Region(msgspec.Struct, frozen=True, rename="pascal"):
    region_id: str
    local_name: str


class Regions(msgspec.Struct, frozen=True, rename="pascal"):
    region: tuple[Region, ...]


class RegionsAnswer(msgspec.Struct, frozen=True, rename="pascal"):
    regions: Regions


class SessionAnswer(SessionSettings, frozen=True, kw_only=True, rename="camel"):
    """`container_id` is the instance that serves the session; "" before its first call."""

    session_id: str
    container_id: str
    function_name: str
    qualifier: str
    session_affinity_type: str
    session_status: str
    session_idle_timeout_in_seconds: int
    session_ttl_in_seconds: int = msgspec.field(name="sessionTTLInSeconds")
    disable_session_id_reuse: bool
    created_time: str
    last_modified_time: str


class SnapshotAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`status` is Failed: memory and disk of an instance cannot be saved here."""

    snapshot_id: str
    source_session_id: str
    function_name: str
    qualifier: str
    description: str
    status: str
    created_time: str


def async_config(record: Record, arns: Arns) -> AsyncConfigAnswer:
    document: AsyncConfig = record.document
    return AsyncConfigAnswer(
        function_arn=_arn(arns, document),
        async_task=document.stateful_invocation,
        destination_config=document.destination_config,
        max_async_event_age_in_seconds=document.max_async_event_age_in_seconds,
        max_async_retry_attempts=document.max_async_retry_attempts,
        **times(record),
    )


def reserved(record: Record, arns: Arns) -> ConcurrencyAnswer:
    document: FunctionState = record.document
    arn = arns.spoken_function(record.parent, record.name)
    return ConcurrencyAnswer(function_arn=arn, reserved_concurrency=document.reserved_concurrency or 0)


def provision_config(document: ProvisionConfig, found: Provisioned, arns: Arns) -> ProvisionAnswer:
    """`target` is the number wanted now, including scheduled actions and target tracking; `defaultTarget` is the one
    set. `currentError` states why fewer are ready; "" if no start failed.
    """
    return ProvisionAnswer(
        function_arn=_arn(arns, document),
        target=found.target,
        default_target=document.target,
        current=found.current,
        current_error=found.error,
        scheduled_actions=document.scheduled_actions,
        target_tracking_policies=document.target_tracking_policies,
        always_allocate_cpu=document.always_allocate_cpu,
        always_allocate_gpu=document.always_allocate_gpu,
    )


def scaling_config(document: ScalingConfig, found: Provisioned, arns: Arns) -> ScalingAnswer:
    return ScalingAnswer(
        function_arn=_arn(arns, document),
        min_instances=document.min_instances,
        current_instances=found.current,
        target_instances=found.target,
        current_error=found.error,
        enable_on_demand_scaling=document.enable_on_demand_scaling,
        enable_mix_mode=document.enable_mix_mode,
        request_dispatch_policy=document.request_dispatch_policy,
        resident_pool_id=document.resident_pool_id,
        horizontal_scaling_policies=document.horizontal_scaling_policies,
        scheduled_policies=document.scheduled_policies,
    )


def layer(record: Record, arns: Arns, location: str, *, public: bool) -> LayerAnswer:
    """`location` is the URL of the layer's archive."""
    document: LayerVersion = record.document
    return LayerAnswer(
        layer_name=document.layer_name,
        version=document.version,
        layer_version_arn=arns.layer(document.layer_name, document.version),
        description=document.description,
        code=LayerCode("OSS", location),
        code_size=document.package.size_bytes,
        code_checksum=document.package.checksum,
        create_time=time(record.created_at),
        acl=str(int(public)),
        compatible_runtime=document.compatible_runtime,
        license=document.license,
    )


def instance(found: InstanceInfo, qualifier: str) -> InstanceAnswer:
    """`qualifier` is the requested one."""
    return InstanceAnswer(
        instance_id=found.instance_id,
        version_id=found.version_id,
        qualifier=qualifier,
        status=RUNNING,
        resource_type="Provision" if found.provisioned else "OnDemand",
        created_time_ms=milliseconds(found.created_at),
    )


def domain(record: Record, account_id: str) -> DomainAnswer:
    document: CustomDomain = record.document
    cert = document.cert_config
    return DomainAnswer(
        domain_name=document.domain_name,
        account_id=account_id,
        api_version=API_VERSION,
        protocol=document.protocol,
        route_config=RoutesAnswer(
            tuple(
                RouteAnswer(
                    path=route.path,
                    function_name=spoken_function(route.service_name, route.function_name),
                    qualifier=route.qualifier or LATEST,
                    methods=route.methods,
                    rewrite_config=route.rewrite_config,
                )
                for route in document.route_config.routes
            )
        ),
        cert_config=None if cert is None else CertificateAnswer(cert.cert_name, cert.certificate),
        tls_config=document.tls_config,
        waf_config=document.waf_config,
        auth_config=document.auth_config,
        cors_config=document.cors_config,
        is_e2b=document.is_e2b,
        **times(record),
    )


def session(record: Record, function_name: str, instance_id: str) -> SessionAnswer:
    document: Session = record.document
    settings = msgspec.convert(document.settings, SessionSettings)
    return SessionAnswer(
        session_id=document.session_id,
        container_id=instance_id,
        function_name=function_name,
        qualifier=document.qualifier,
        session_affinity_type=document.affinity_type,
        session_status=document.status,
        session_idle_timeout_in_seconds=document.idle_timeout_s,
        session_ttl_in_seconds=document.ttl_s,
        disable_session_id_reuse=document.disable_id_reuse,
        created_time=time(record.created_at),
        last_modified_time=time(record.modified_at),
        **msgspec.structs.asdict(settings),
    )


def snapshot(record: Record, function_name: str) -> SnapshotAnswer:
    document: SessionSnapshot = record.document
    return SnapshotAnswer(
        snapshot_id=document.snapshot_id,
        source_session_id=document.session_id,
        function_name=function_name,
        qualifier=document.qualifier,
        description=document.description,
        status=NO_SNAPSHOTS,
        created_time=time(record.created_at),
    )


def _arn(arns: Arns, config: AsyncConfig | ProvisionConfig | ScalingConfig) -> str:
    return arns.spoken_function(config.service, config.function, config.qualifier)
