"""Callers' input, independent of the API version: decoded, but not validated yet.

Created by the endpoints from the input of their API version. Fields that were not sent are UNSET, so that an update
keeps their values.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from sesame.model.configs import DestinationConfig, ScheduledAction, TargetTrackingPolicy
from sesame.model.domain import CertConfig, RouteConfig, TlsConfig
from sesame.model.function import InstanceLifecycleConfig
from sesame.model.invocation import Target
from sesame.model.records import Record
from sesame.model.service import LogConfig, NasConfig, OssMountConfig, TracingConfig, VpcConfig


class ServiceInput(msgspec.Struct, frozen=True, kw_only=True):
    """A part that is sent replaces that part as a whole (reference/api.md §3.1)."""

    service_name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    role: str | UnsetType = UNSET
    log_config: LogConfig | UnsetType = UNSET
    vpc_config: VpcConfig | UnsetType = UNSET
    internet_access: bool | UnsetType = UNSET
    nas_config: NasConfig | UnsetType = UNSET
    oss_mount_config: OssMountConfig | UnsetType = UNSET
    tracing_config: TracingConfig | UnsetType = UNSET


class CodeInput(msgspec.Struct, frozen=True, kw_only=True):
    """The source of the code: a zip (its base64 text, or its bytes), or an object in a bucket.

    Empty strings count as not sent.
    """

    zip_file: str | bytes = ""
    oss_bucket_name: str = ""
    oss_object_name: str = ""


class FunctionInput(msgspec.Struct, frozen=True, kw_only=True):
    """Environment variables and layers are replaced as a whole (reference/api.md §3.2).

    `expected_checksum` is the CRC-64 of the code, if the caller sent one. `later` has the sent fields of
    `model.later_settings`.
    """

    function_name: str | UnsetType = UNSET
    runtime: str | UnsetType = UNSET
    handler: str | UnsetType = UNSET
    code: CodeInput | UnsetType = UNSET
    description: str | UnsetType = UNSET
    initializer: str | UnsetType = UNSET
    timeout: int | UnsetType = UNSET
    initialization_timeout: int | UnsetType = UNSET
    memory_size: int | UnsetType = UNSET
    environment_variables: dict[str, str] | UnsetType = UNSET
    instance_concurrency: int | UnsetType = UNSET
    instance_soft_concurrency: int | UnsetType = UNSET
    instance_type: str | UnsetType = UNSET
    instance_lifecycle_config: InstanceLifecycleConfig | UnsetType = UNSET
    layers: tuple[str, ...] | UnsetType = UNSET
    ca_port: int | UnsetType = UNSET
    custom_container_config: dict[str, Any] | UnsetType = UNSET
    custom_runtime_config: dict[str, Any] | UnsetType = UNSET
    custom_health_check_config: dict[str, Any] | UnsetType = UNSET
    custom_dns: dict[str, Any] | UnsetType = UNSET
    gpu_memory_size: int | UnsetType = UNSET
    cpu: float | UnsetType = UNSET
    disk_size: int | UnsetType = UNSET
    later: Mapping[str, Any] | UnsetType = UNSET
    expected_checksum: str | UnsetType = UNSET


class PublishInput(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a new version (reference/api.md §3.4)."""

    description: str = ""


class AliasInput(msgspec.Struct, frozen=True, kw_only=True):
    """A version, and the weights of others (reference/api.md §3.4)."""

    alias_name: str | UnsetType = UNSET
    version_id: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    additional_version_weight: dict[str, float] | UnsetType = UNSET
    resolve_policy: str | UnsetType = UNSET
    route_policy: dict[str, Any] | UnsetType = UNSET


class TriggerInput(msgspec.Struct, frozen=True, kw_only=True):
    """For an update, the name identifies the trigger (reference/api.md §3.5)."""

    trigger_name: str | UnsetType = UNSET
    trigger_type: str | UnsetType = UNSET
    trigger_config: dict[str, Any] | UnsetType = UNSET
    source_arn: str | UnsetType = UNSET
    invocation_role: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    qualifier: str | UnsetType = UNSET


class AsyncConfigInput(msgspec.Struct, frozen=True, kw_only=True):
    """Replaces the whole configuration (reference/api.md §3.6)."""

    destination_config: DestinationConfig = DestinationConfig()
    max_async_event_age_in_seconds: int | None = None
    max_async_retry_attempts: int | None = None
    stateful_invocation: bool = False


class ProvisionInput(msgspec.Struct, frozen=True, kw_only=True):
    """A list that is not sent stays; an empty one clears it (reference/api.md §3.6)."""

    target: int | UnsetType = UNSET
    scheduled_actions: tuple[ScheduledAction, ...] | UnsetType = UNSET
    target_tracking_policies: tuple[TargetTrackingPolicy, ...] | UnsetType = UNSET
    always_allocate_cpu: bool | UnsetType = UNSET
    always_allocate_gpu: bool | UnsetType = UNSET


class OnDemandInput(msgspec.Struct, frozen=True, kw_only=True):
    """The maximum number of instances of a function (reference/api.md §3.6)."""

    maximum_instance_count: int | UnsetType = UNSET


class TagInput(msgspec.Struct, frozen=True, kw_only=True):
    """Adds to the existing tags (reference/api.md §3.6)."""

    resource_arn: str = ""
    tags: dict[str, str] = {}


class UntagInput(msgspec.Struct, frozen=True, kw_only=True):
    """`all` applies if no keys are given (reference/api.md §3.6)."""

    resource_arn: str = ""
    tag_keys: tuple[str, ...] = ()
    all: bool = False


class LayerInput(msgspec.Struct, frozen=True, kw_only=True):
    """A new version of a layer (reference/api.md §3.6). `expected_checksum` is the CRC-64 of the code, "" for any."""

    code: CodeInput = CodeInput()
    expected_checksum: str = ""
    description: str = ""
    compatible_runtime: tuple[str, ...] = ()
    license: str = ""


class CustomDomainInput(msgspec.Struct, frozen=True, kw_only=True):
    """A part that is sent replaces that part as a whole (reference/api.md §3.6)."""

    domain_name: str | UnsetType = UNSET
    protocol: str | UnsetType = UNSET
    route_config: RouteConfig | UnsetType = UNSET
    cert_config: CertConfig | UnsetType = UNSET
    tls_config: TlsConfig | UnsetType = UNSET
    waf_config: dict[str, Any] | UnsetType = UNSET
    auth_config: dict[str, Any] | UnsetType = UNSET
    cors_config: dict[str, Any] | UnsetType = UNSET
    is_e2b: bool | UnsetType = UNSET


class AsyncOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of an asynchronous invocation (reference/api.md §3.3). An empty id means that none was chosen."""

    delay_s: float | None = None
    stateful_async_invocation_id: str = ""
    stateful: bool = False


class AsyncCall(msgspec.Struct, frozen=True, kw_only=True):
    """An asynchronous invocation as requested by a caller; `http_params` and `chain` as in `model.invocation`."""

    target: Target
    request_id: str
    payload: bytes
    options: AsyncOptions = AsyncOptions()
    source: str = "api"
    tracing: Mapping[str, object] | None = None
    http_params: dict[str, object] | None = None
    chain: tuple[str, ...] = ()


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The requested part of a list (reference/api.md §2). `start_key` is inclusive; `next_token` takes precedence."""

    prefix: str = ""
    start_key: str = ""
    next_token: str = ""
    limit: int | None = None


class Page(msgspec.Struct, frozen=True):
    """Records in ascending order of name; `next_token` is None on the last page."""

    items: tuple[Record, ...]
    next_token: str | None


class SessionInput(msgspec.Struct, frozen=True, kw_only=True):
    """A session of a function (reference/api.md §5); fields that were not sent are None. `settings` as sent."""

    session_id: str = ""
    idle_timeout_s: int | None = None
    ttl_s: int | None = None
    disable_id_reuse: bool | None = None
    settings: Mapping[str, Any] = {}
