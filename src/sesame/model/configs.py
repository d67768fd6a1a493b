"""Settings of one function under one qualifier: asynchronous calls, provisioned and on-demand instances.

Created by `control.async_configs`, `.provision_configs` and `.on_demand_configs`; read by the engine.
Field names follow reference/api.md §3.6; the functions below name each record.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

# Metrics of target tracking: the share of time in which provisioned instances serve calls, and the share of their CPU
# quota that they use. Sesame has no GPUs, so GPUMemUtilization is refused.
CONCURRENCY_UTILIZATION, CPU_UTILIZATION = "ProvisionedConcurrencyUtilization", "CPUUtilization"
METRIC_TYPES = (CONCURRENCY_UTILIZATION, CPU_UTILIZATION)
# The start and end time of a scaling policy that sets none.
ALWAYS = ("1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z")


class Destination(msgspec.Struct, frozen=True, rename="camel"):
    """May be empty: SDKs send `{}` or `{"destination": null}` for an unset destination."""

    destination: str = ""


class DestinationConfig(msgspec.Struct, frozen=True, rename="camel"):
    on_success: Destination | None = None
    on_failure: Destination | None = None


class AsyncConfig(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `async_config`, parent the service, name by `async_config_name`. Unset fields are None."""

    service: str
    function: str
    qualifier: str
    destination_config: DestinationConfig = DestinationConfig()
    max_async_event_age_in_seconds: int | None = None
    max_async_retry_attempts: int | None = None
    stateful_invocation: bool = False


class ScheduledAction(msgspec.Struct, frozen=True, rename="camel"):
    """From `start_time` to `end_time`, each time `schedule_expression` comes due, sets the number of instances to
    `target`.

    Times are in UTC; with `time_zone`, a name of the IANA database, cron fields and times without a `Z` are local.
    """

    name: str = ""
    start_time: str = ""
    end_time: str = ""
    target: int = 0
    schedule_expression: str = ""
    time_zone: str | UnsetType = UNSET


class TargetTrackingPolicy(msgspec.Struct, frozen=True, rename="camel"):
    """From `start_time` to `end_time`, scales the number of instances so that the metric approaches `metric_target` (0
    to 1).

    Times: see `ScheduledAction`.
    """

    name: str = ""
    start_time: str = ""
    end_time: str = ""
    metric_type: str = ""
    metric_target: float = 0.0
    min_capacity: int = 0
    max_capacity: int = 0
    time_zone: str | UnsetType = UNSET


class ProvisionConfig(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `provision_config`, parent the service, name by `provision_config_name`."""

    service: str
    function: str
    qualifier: str
    target: int = 0
    scheduled_actions: tuple[ScheduledAction, ...] = ()
    target_tracking_policies: tuple[TargetTrackingPolicy, ...] = ()
    always_allocate_cpu: bool = msgspec.field(default=False, name="alwaysAllocateCPU")
    always_allocate_gpu: bool = msgspec.field(default=False, name="alwaysAllocateGPU")


class ScalingPolicy(msgspec.Struct, frozen=True, rename="camel"):
    """A `TargetTrackingPolicy` as scaling configurations write it; without times it always applies."""

    name: str = ""
    start_time: str = ""
    end_time: str = ""
    metric_type: str = ""
    metric_target: float = 0.0
    min_instances: int = 0
    max_instances: int = 0
    time_zone: str | UnsetType = UNSET

    def tracking(self) -> TargetTrackingPolicy:
        return TargetTrackingPolicy(
            self.name,
            self.start_time or ALWAYS[0],
            self.end_time or ALWAYS[1],
            self.metric_type,
            self.metric_target,
            self.min_instances,
            self.max_instances,
            self.time_zone,
        )


class ScalingConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Kind `scaling_config`, parent the owner, name by `provision_config_name`. Policies are stored as sent.

    `min_instances` instances are provisioned; scheduled and horizontal policies change that number. Without
    `enable_on_demand_scaling` no further instances are started.
    """

    service: str
    function: str
    qualifier: str
    min_instances: int = 0
    enable_on_demand_scaling: bool = True
    enable_mix_mode: bool = False
    request_dispatch_policy: str = ""
    resident_pool_id: str = ""
    horizontal_scaling_policies: tuple[dict[str, Any], ...] = ()
    scheduled_policies: tuple[dict[str, Any], ...] = ()

    def provision(self) -> ProvisionConfig:
        """The equivalent `ProvisionConfig`. Raises `msgspec.ValidationError` for malformed policies."""
        horizontal = msgspec.convert(self.horizontal_scaling_policies, tuple[ScalingPolicy, ...])
        return ProvisionConfig(
            service=self.service,
            function=self.function,
            qualifier=self.qualifier,
            target=self.min_instances,
            scheduled_actions=msgspec.convert(self.scheduled_policies, tuple[ScheduledAction, ...]),
            target_tracking_policies=tuple(each.tracking() for each in horizontal),
        )


class OnDemandConfig(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `on_demand_config`, parent "", name the `resource`. A maximum of zero instances refuses every call."""

    resource: str
    maximum_instance_count: int


def async_config_name(function: str, qualifier: str) -> str:
    return f"{function}/{qualifier}"


def provision_config_name(function: str, qualifier: str) -> str:
    return f"{qualifier}#{function}"


def on_demand_resource(service: str, qualifier: str, function: str) -> str:
    return f"services/{service}.{qualifier}/functions/{function}"
