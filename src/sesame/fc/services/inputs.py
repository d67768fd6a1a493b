"""The request bodies of the API versions with services, as their descriptions show them.

Decoded by `fc.wire_json`, which matches keys in any case and drops null; `neutral` converts each to `control`'s input.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from sesame.control import inputs as control
from sesame.fc.refusals import InvalidArgument
from sesame.fc.services import containers
from sesame.model import described
from sesame.model.configs import DestinationConfig, ScheduledAction, TargetTrackingPolicy
from sesame.model.domain import CertConfig, RouteConfig, TlsConfig
from sesame.model.function import InstanceLifecycleConfig
from sesame.model.owner import stands_alone
from sesame.model.service import LogConfig, NasConfig, TracingConfig, VpcConfig


class ServiceInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of CreateService and UpdateService (reference/api.md §3.1). A part that is sent is replaced as a whole."""

    service_name: described.ServiceName | UnsetType = UNSET
    description: described.Description | UnsetType = UNSET
    role: str | UnsetType = UNSET
    log_config: LogConfig | UnsetType = UNSET
    vpc_config: VpcConfig | UnsetType = UNSET
    internet_access: bool | UnsetType = UNSET
    nas_config: NasConfig | UnsetType = UNSET
    tracing_config: TracingConfig | UnsetType = UNSET

    def neutral(self) -> control.ServiceInput:
        return control.ServiceInput(**asdict(self))


class CodeInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the code comes from: a base64-encoded zip, or an object in a bucket. Empty strings count as absent."""

    zip_file: str = ""
    oss_bucket_name: str = ""
    oss_object_name: str = ""

    def neutral(self) -> control.CodeInput:
        return control.CodeInput(**asdict(self))


class ReplayInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of ReplayRecording: what to change with respect to the recorded call."""

    runtime: str | UnsetType = UNSET
    code: CodeInput | UnsetType = UNSET


class RecordingConfigInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of PutRecordingConfig: `none`, `failed`, `all`, or `server` for the server's setting."""

    mode: described.RecordingMode | UnsetType = UNSET


class FunctionInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of CreateFunction and UpdateFunction (reference/api.md §3.2).

    `environmentVariables` and `layers` are replaced as a whole.
    """

    function_name: described.FunctionName | UnsetType = UNSET
    runtime: described.Runtime | UnsetType = UNSET
    handler: described.Handler | UnsetType = UNSET
    code: CodeInput | UnsetType = UNSET
    description: described.Description | UnsetType = UNSET
    initializer: described.Handler | UnsetType = UNSET
    timeout: described.TimeoutS | UnsetType = UNSET
    initialization_timeout: described.InitializationTimeoutS | UnsetType = UNSET
    memory_size: described.MemoryMb | UnsetType = UNSET
    environment_variables: dict[str, str] | UnsetType = UNSET
    instance_concurrency: described.Concurrency | UnsetType = UNSET
    instance_soft_concurrency: described.Concurrency | UnsetType = UNSET
    instance_type: str | UnsetType = UNSET
    instance_lifecycle_config: InstanceLifecycleConfig | UnsetType = UNSET
    layers: tuple[str, ...] | UnsetType = UNSET
    ca_port: described.Port | UnsetType = UNSET
    custom_container_config: dict[str, Any] | UnsetType = UNSET
    custom_runtime_config: dict[str, Any] | UnsetType = UNSET
    custom_health_check_config: dict[str, Any] | UnsetType = UNSET
    custom_dns: dict[str, Any] | UnsetType = msgspec.field(default=UNSET, name="customDNS")
    gpu_memory_size: int | UnsetType = UNSET
    cpu: described.Cpu | UnsetType = UNSET
    disk_size: described.DiskMb | UnsetType = UNSET

    def neutral(self, expected_checksum: str | None) -> control.FunctionInput:
        """`expected_checksum` is the header X-Fc-Code-Checksum."""
        code = self.code if self.code is UNSET else self.code.neutral()
        fields = asdict(self) | {"code": code, "expected_checksum": expected_checksum or UNSET}
        if self.custom_container_config is not UNSET:
            fields["custom_container_config"] = containers.neutral(self.custom_container_config)
        return control.FunctionInput(**fields)


class PublishInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of PublishVersion (reference/api.md §3.4)."""

    description: described.Description = ""

    def neutral(self) -> control.PublishInput:
        return control.PublishInput(**asdict(self))


class AliasInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of CreateAlias and UpdateAlias (reference/api.md §3.4)."""

    alias_name: described.AliasName | UnsetType = UNSET
    version_id: str | UnsetType = UNSET
    description: described.Description | UnsetType = UNSET
    additional_version_weight: dict[str, float] | UnsetType = UNSET
    resolve_policy: str | UnsetType = UNSET
    route_policy: dict[str, Any] | UnsetType = UNSET

    def neutral(self) -> control.AliasInput:
        return control.AliasInput(**asdict(self))


class TriggerInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of CreateTrigger and UpdateTrigger (reference/api.md §3.5); an update takes the name from the path."""

    trigger_name: described.TriggerName | UnsetType = UNSET
    trigger_type: str | UnsetType = UNSET
    trigger_config: dict[str, Any] | UnsetType = UNSET
    source_arn: str | UnsetType = UNSET
    invocation_role: str | UnsetType = UNSET
    description: described.Description | UnsetType = UNSET
    qualifier: str | UnsetType = UNSET

    def neutral(self) -> control.TriggerInput:
        return control.TriggerInput(**asdict(self))


class AsyncConfigInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of PutFunctionAsyncInvokeConfig (reference/api.md §3.6), which replaces the whole configuration."""

    destination_config: DestinationConfig = DestinationConfig()
    max_async_event_age_in_seconds: described.AsyncEventAgeS | None = None
    max_async_retry_attempts: described.AsyncRetries | None = None
    stateful_invocation: bool = False

    def neutral(self) -> control.AsyncConfigInput:
        return control.AsyncConfigInput(**asdict(self))


class ProvisionInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of PutProvisionConfig (reference/api.md §3.6). An absent list is left unchanged, an empty one is cleared."""

    target: described.ProvisionTarget | UnsetType = UNSET
    scheduled_actions: tuple[ScheduledAction, ...] | UnsetType = UNSET
    target_tracking_policies: tuple[TargetTrackingPolicy, ...] | UnsetType = UNSET
    always_allocate_cpu: bool | UnsetType = msgspec.field(default=UNSET, name="alwaysAllocateCPU")

    def neutral(self) -> control.ProvisionInput:
        return control.ProvisionInput(**asdict(self))


class OnDemandInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of PutOnDemandConfig (reference/api.md §3.6)."""

    maximum_instance_count: described.OnDemandInstances | UnsetType = UNSET

    def neutral(self) -> control.OnDemandInput:
        return control.OnDemandInput(**asdict(self))


class TagInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of TagResource (reference/api.md §3.6)."""

    resource_arn: str = ""
    tags: dict[str, str] = {}

    def neutral(self) -> control.TagInput:
        return control.TagInput(**asdict(self))


class UntagInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of UntagResource (reference/api.md §3.6)."""

    resource_arn: str = ""
    tag_keys: tuple[str, ...] = ()
    all: bool = False

    def neutral(self) -> control.UntagInput:
        return control.UntagInput(**asdict(self))


class VpcBindingInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of CreateVpcBinding and DeleteVpcBinding (reference/api.md §3.6)."""

    vpc_id: str = ""


class LayerInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of CreateLayerVersion (reference/api.md §3.6)."""

    code: CodeInput = CodeInput()
    description: described.Description = ""
    compatible_runtime: tuple[described.Runtime, ...] = ()

    def neutral(self) -> control.LayerInput:
        return control.LayerInput(**asdict(self) | {"code": self.code.neutral()})


class CustomDomainInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of CreateCustomDomain and UpdateCustomDomain (reference/api.md §3.6)."""

    domain_name: str | UnsetType = UNSET
    protocol: described.DomainProtocol | UnsetType = UNSET
    route_config: RouteConfig | UnsetType = UNSET
    cert_config: CertConfig | UnsetType = UNSET
    tls_config: TlsConfig | UnsetType = UNSET
    waf_config: dict[str, Any] | UnsetType = UNSET

    def neutral(self) -> control.CustomDomainInput:
        """Raises `InvalidArgument` for a route to the owner of a function that belongs to no service."""
        for route in () if self.route_config is UNSET else self.route_config.routes:
            if stands_alone(route.service_name):
                raise InvalidArgument.of("RouteConfig.Routes.ServiceName", "the name of a service", route.service_name)
        return control.CustomDomainInput(**asdict(self))
