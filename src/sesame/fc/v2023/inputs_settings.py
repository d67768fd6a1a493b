"""The request bodies of 2023-03-30 for everything except functions (reference/api.md §5.2).

`neutral` converts each to `control`'s input.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from sesame.control import inputs as control
from sesame.control.provision_configs import PROVISION_WORDS, check_target
from sesame.fc.json_text import object_of
from sesame.fc.refusals import InvalidArgument
from sesame.fc.v2023.inputs import CodeInput, Tag
from sesame.fc.v2023.naming import function_named
from sesame.model import described
from sesame.model.configs import DestinationConfig, ScalingConfig, ScheduledAction, TargetTrackingPolicy
from sesame.model.cors_rules import CorsRules
from sesame.model.domain import CertConfig, PathConfig, RewriteConfig, RouteConfig, TlsConfig


class PublishInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    description: described.Description = ""

    def neutral(self) -> control.PublishInput:
        return control.PublishInput(description=self.description)


class AliasInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    alias_name: described.AliasName | UnsetType = UNSET
    version_id: str | UnsetType = UNSET
    description: described.Description | UnsetType = UNSET
    additional_version_weight: dict[str, float] | UnsetType = UNSET

    def neutral(self) -> control.AliasInput:
        return control.AliasInput(**asdict(self))


class TriggerInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`triggerConfig` is JSON text; an update takes the name from the path."""

    trigger_name: described.TriggerName | UnsetType = UNSET
    trigger_type: str | UnsetType = UNSET
    trigger_config: str | UnsetType = UNSET
    source_arn: str | UnsetType = UNSET
    invocation_role: str | UnsetType = UNSET
    description: described.Description | UnsetType = UNSET
    qualifier: str | UnsetType = UNSET

    def neutral(self) -> control.TriggerInput:
        config = object_of(self.trigger_config, "TriggerConfig") if self.trigger_config else UNSET
        return control.TriggerInput(**asdict(self) | {"trigger_config": config})


class AsyncConfigInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Replaces the whole configuration. With `asyncTask`, invocations can be tracked as tasks."""

    async_task: bool = False
    destination_config: DestinationConfig = DestinationConfig()
    max_async_event_age_in_seconds: described.AsyncEventAgeS | None = None
    max_async_retry_attempts: described.AsyncRetries | None = None

    def neutral(self) -> control.AsyncConfigInput:
        return control.AsyncConfigInput(
            destination_config=self.destination_config,
            max_async_event_age_in_seconds=self.max_async_event_age_in_seconds,
            max_async_retry_attempts=self.max_async_retry_attempts,
            stateful_invocation=self.async_task,
        )


class ConcurrencyInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    reserved_concurrency: described.OnDemandInstances | UnsetType = UNSET


class DisableInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """With `abortOngoingRequest`, running calls are aborted, too."""

    reason: described.Description = ""
    abort_ongoing_request: bool = False


_WORDS = msgspec.structs.replace(PROVISION_WORDS, target="default_target")


class ProvisionInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`defaultTarget` is the newer name of `target`. An absent list is left unchanged, an empty one is cleared."""

    target: described.ProvisionTarget | UnsetType = UNSET
    default_target: described.ProvisionTarget | UnsetType = UNSET
    scheduled_actions: tuple[ScheduledAction, ...] | UnsetType = UNSET
    target_tracking_policies: tuple[TargetTrackingPolicy, ...] | UnsetType = UNSET
    always_allocate_cpu: bool | UnsetType = msgspec.field(default=UNSET, name="alwaysAllocateCPU")
    always_allocate_gpu: bool | UnsetType = msgspec.field(default=UNSET, name="alwaysAllocateGPU")

    def neutral(self) -> control.ProvisionInput:
        """Raises `Rejected` for a wrong `defaultTarget`, which would be refused under the name of the other field."""
        fields = asdict(self)
        target = fields.pop("default_target")
        if target is UNSET:
            return control.ProvisionInput(**fields)
        check_target(_WORDS, target)
        return control.ProvisionInput(**fields | {"target": target})


class ScalingInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    min_instances: int = 0
    enable_on_demand_scaling: bool = True
    enable_mix_mode: bool = False
    request_dispatch_policy: str = ""
    resident_pool_id: str = ""
    horizontal_scaling_policies: tuple[dict[str, Any], ...] = ()
    scheduled_policies: tuple[dict[str, Any], ...] = ()

    def of(self, owner: str, function: str, qualifier: str) -> ScalingConfig:
        return ScalingConfig(service=owner, function=function, qualifier=qualifier, **asdict(self))


class LayerInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    code: CodeInput = CodeInput()
    description: described.Description = ""
    compatible_runtime: tuple[described.Runtime, ...] = ()
    license: str = ""

    def neutral(self) -> control.LayerInput:
        return control.LayerInput(
            **asdict(self) | {"code": self.code.neutral(), "expected_checksum": self.code.checksum}
        )


class RouteInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """In this API a function of a service is named `service$function`."""

    path: str = ""
    function_name: str = ""
    qualifier: str | None = None
    methods: tuple[str, ...] = ()
    rewrite_config: RewriteConfig | None = None

    def neutral(self) -> PathConfig:
        """Raises `InvalidArgument` if the route names no function."""
        if not self.function_name:
            raise InvalidArgument.missing("RouteConfig.Routes.FunctionName")
        owner, function = function_named(self.function_name)
        return PathConfig(self.path, owner, function, self.qualifier, self.methods, self.rewrite_config)


class RoutesInput(msgspec.Struct, frozen=True, rename="camel"):
    routes: tuple[RouteInput, ...] = ()


class CustomDomainInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part that is sent is replaced as a whole."""

    domain_name: str | UnsetType = UNSET
    protocol: described.DomainProtocol | UnsetType = UNSET
    route_config: RoutesInput | UnsetType = UNSET
    cert_config: CertConfig | UnsetType = UNSET
    tls_config: TlsConfig | UnsetType = UNSET
    waf_config: dict[str, Any] | UnsetType = UNSET
    auth_config: dict[str, Any] | UnsetType = UNSET
    cors_config: CorsRules | UnsetType = UNSET
    is_e2b: bool | UnsetType = msgspec.field(default=UNSET, name="isE2B")

    def neutral(self) -> control.CustomDomainInput:
        fields = asdict(self)
        if self.route_config is not UNSET:
            fields["route_config"] = RouteConfig(tuple(route.neutral() for route in self.route_config.routes))
        if self.cors_config is not UNSET:
            fields["cors_config"] = msgspec.to_builtins(self.cors_config)
        return control.CustomDomainInput(**fields)


class TagInput(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Body of TagResources. Only functions have tags here."""

    resource_id: tuple[str, ...] = ()
    resource_type: str = ""
    tag: tuple[Tag, ...] = ()


class GroupInput(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Body of ChangeResourceGroup."""

    new_resource_group_id: str = ""
    resource_id: str = ""
    resource_type: str = ""


class VpcBindingInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    vpc_id: str = ""


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Settings of a session that are only stored, and answered as they were sent."""

    allow_internet_access: bool | UnsetType = UNSET
    enable_auto_pause: bool | UnsetType = UNSET
    enable_auto_resume: bool | UnsetType = UNSET
    nas_config: dict[str, Any] | UnsetType = UNSET
    oss_mount_config: dict[str, Any] | UnsetType = UNSET
    juice_fs_config: dict[str, Any] | UnsetType = UNSET
    polar_fs_config: dict[str, Any] | UnsetType = UNSET
    network: dict[str, Any] | UnsetType = UNSET


class SessionInput(SessionSettings, frozen=True, kw_only=True, rename="camel"):
    """Body of CreateSession and UpdateSession."""

    session_id: str = ""
    snapshot_id: str = ""
    session_idle_timeout_in_seconds: int | None = None
    session_ttl_in_seconds: int | None = msgspec.field(default=None, name="sessionTTLInSeconds")
    disable_session_id_reuse: bool | None = None

    def neutral(self) -> control.SessionInput:
        kept = {
            field.encode_name: value
            for field in msgspec.structs.fields(SessionSettings)
            if (value := getattr(self, field.name)) is not UNSET
        }
        return control.SessionInput(
            session_id=self.session_id,
            idle_timeout_s=self.session_idle_timeout_in_seconds,
            ttl_s=self.session_ttl_in_seconds,
            disable_id_reuse=self.disable_session_id_reuse,
            settings=kept,
        )


class SnapshotInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    session_id: str = ""
    description: described.Description = ""
