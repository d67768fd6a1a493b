"""Converts domains, layers, tags, configurations and account settings into the answers of the API.

Called by their routes (reference/api.md §3.2, §3.6). Answers never contain the private key of a certificate.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from sesame.control.account import AccountSettings
from sesame.engine.interface import Provisioned
from sesame.fc.shapes import LayerCode, time, times
from sesame.model.arn import Arns
from sesame.model.configs import (
    AsyncConfig,
    DestinationConfig,
    OnDemandConfig,
    ProvisionConfig,
    ScheduledAction,
    TargetTrackingPolicy,
)
from sesame.model.domain import CustomDomain, PathConfig, RouteConfig, TlsConfig
from sesame.model.layer import LayerVersion
from sesame.model.owner import service_of
from sesame.model.records import Record


class Empty(msgspec.Struct, frozen=True):
    """`{}`: clients parse the body of every answer as JSON."""


class CertificateAnswer(msgspec.Struct, frozen=True, rename="camel"):
    cert_name: str
    certificate: str
    private_key: None = None


class DomainAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    domain_name: str
    account_id: str
    protocol: str
    api_version: str
    route_config: RouteConfig
    cert_config: CertificateAnswer | None
    tls_config: TlsConfig | None
    waf_config: dict[str, Any] | None
    created_time: str
    last_modified_time: str


class LayerAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`acl` is 1 for a layer that other accounts may use, else 0."""

    layer_name: str
    version: int
    description: str
    code: LayerCode
    code_size: int
    code_checksum: str
    create_time: str
    acl: int
    compatible_runtime: tuple[str, ...]
    arn: str
    arn_v2: str
    license: str


class TagsAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    request_id: str
    resource_arn: str
    tags: dict[str, str]


class RequestAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    request_id: str


class TaggedResource(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    resource_arn: str
    tags: dict[str, str]


class AsyncConfigAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    service: str
    function: str
    qualifier: str
    destination_config: DestinationConfig
    max_async_event_age_in_seconds: int | None
    max_async_retry_attempts: int | None
    stateful_invocation: bool
    created_time: str
    last_modified_time: str


class ProvisionAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`resource` is `{account}#{service}#{qualifier}#{function}`; `current` counts the instances that are ready."""

    resource: str
    target: int
    current: int
    current_error: str
    scheduled_actions: tuple[ScheduledAction, ...]
    target_tracking_policies: tuple[TargetTrackingPolicy, ...]
    always_allocate_cpu: bool = msgspec.field(name="alwaysAllocateCPU")


class TokenCredentials(msgspec.Struct, frozen=True, rename="pascal"):
    access_key_id: str
    access_key_secret: str
    security_token: str
    expiration: str


class BucketTokenAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where to upload code. Only GetTempBucketToken has the region, only GetTempCodeBucketToken the size limit."""

    credentials: TokenCredentials
    oss_bucket: str
    object_name: str
    oss_region: str | UnsetType = UNSET
    code_size_limit: int | UnsetType = UNSET


class InstanceAnswer(msgspec.Struct, frozen=True, rename="camel"):
    instance_id: str
    version_id: str


class AccountSettingsAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    available_azs: tuple[str, ...] = msgspec.field(name="availableAZs")
    default_role: str


class OnDemandAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`resource` is `services/{service}.{qualifier}/functions/{function}`."""

    resource: str
    maximum_instance_count: int


class ReservedCapacity(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Never answered, as there are no reservations; only the OpenAPI document uses it."""

    instance_id: str
    cu: int
    deadline: str
    created_time: str
    last_modified_time: str
    is_refunded: str


def domain(record: Record, account_id: str, api_version: str) -> DomainAnswer:
    document: CustomDomain = record.document
    cert = document.cert_config
    return DomainAnswer(
        domain_name=document.domain_name,
        account_id=account_id,
        protocol=document.protocol,
        api_version=api_version,
        route_config=RouteConfig(tuple(map(_route, document.route_config.routes))),
        cert_config=None if cert is None else CertificateAnswer(cert.cert_name, cert.certificate),
        tls_config=document.tls_config,
        waf_config=document.waf_config,
        **times(record),
    )


def _route(route: PathConfig) -> PathConfig:
    """A function without a service is shown without a service name."""
    return msgspec.structs.replace(route, service_name=service_of(route.service_name))


def layer(record: Record, arns: Arns, location: str, *, public: bool) -> LayerAnswer:
    """`location` is the URL of the layer's archive."""
    document: LayerVersion = record.document
    arn = arns.layer(document.layer_name, document.version)
    return LayerAnswer(
        layer_name=document.layer_name,
        version=document.version,
        description=document.description,
        code=LayerCode("OSS", location),
        code_size=document.package.size_bytes,
        code_checksum=document.package.checksum,
        create_time=time(record.created_at),
        acl=int(public),
        compatible_runtime=document.compatible_runtime,
        arn=arn,
        arn_v2=arn,
        license=document.license,
    )


def async_config(record: Record) -> AsyncConfigAnswer:
    document: AsyncConfig = record.document
    return AsyncConfigAnswer(
        service=document.service,
        function=document.function,
        qualifier=document.qualifier,
        destination_config=document.destination_config,
        max_async_event_age_in_seconds=document.max_async_event_age_in_seconds,
        max_async_retry_attempts=document.max_async_retry_attempts,
        stateful_invocation=document.stateful_invocation,
        **times(record),
    )


def provision_config(document: ProvisionConfig, found: Provisioned, account_id: str) -> ProvisionAnswer:
    """`target` is the number wanted now, including scheduled actions and target tracking.

    `currentError` states why fewer are ready; "" if no start failed.
    """
    return ProvisionAnswer(
        resource="#".join((account_id, document.service, document.qualifier, document.function)),
        target=found.target,
        current=found.current,
        current_error=found.error,
        scheduled_actions=document.scheduled_actions,
        target_tracking_policies=document.target_tracking_policies,
        always_allocate_cpu=document.always_allocate_cpu,
    )


def on_demand_config(record: Record) -> OnDemandAnswer:
    document: OnDemandConfig = record.document
    return OnDemandAnswer(resource=document.resource, maximum_instance_count=document.maximum_instance_count)


def account_settings(settings: AccountSettings) -> AccountSettingsAnswer:
    return AccountSettingsAnswer(available_azs=settings.available_azs, default_role=settings.default_role)
