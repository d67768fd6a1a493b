"""What is set for one function under one qualifier: asynchronous calls, provisioned and on-demand instances.

Made by `control.async_configs`, `.provision_configs` and `.on_demand_configs`; read by the engine.
Field names follow reference/api.md §3.6; the functions here say under which name each is kept.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

# What target tracking measures: the share of the time in which provisioned instances serve calls, and how much they
# compute of what they may. There is no GPU here, so GPUMemUtilization is refused.
CONCURRENCY_UTILIZATION, CPU_UTILIZATION = "ProvisionedConcurrencyUtilization", "CPUUtilization"
METRIC_TYPES = (CONCURRENCY_UTILIZATION, CPU_UTILIZATION)
# The times of a scaling policy that names none.
ALWAYS = ("1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z")


class Destination(msgspec.Struct, frozen=True, rename="camel"):
    """An empty one names none: SDKs send `{}` or `{"destination": null}` for a destination that nothing was set in."""

    destination: str = ""


class DestinationConfig(msgspec.Struct, frozen=True, rename="camel"):
    on_success: Destination | None = None
    on_failure: Destination | None = None


class AsyncConfig(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `async_config`, parent the service, name as `async_config_name` says. None where nothing was set."""

    service: str
    function: str
    qualifier: str
    destination_config: DestinationConfig = DestinationConfig()
    max_async_event_age_in_seconds: int | None = None
    max_async_retry_attempts: int | None = None
    stateful_invocation: bool = False


class ScheduledAction(msgspec.Struct, frozen=True, rename="camel"):
    """From `start_time` to `end_time`, each time `schedule_expression` comes due the target becomes `target`.

    The times are in UTC; with `time_zone`, one of the IANA database, those without a `Z` and cron fields are local.
    """

    name: str = ""
    start_time: str = ""
    end_time: str = ""
    target: int = 0
    schedule_expression: str = ""
    time_zone: str | UnsetType = UNSET


class TargetTrackingPolicy(msgspec.Struct, frozen=True, rename="camel"):
    """From `start_time` to `end_time` there are so many that the metric comes to `metric_target` (of 1 in all).

    Times as of `ScheduledAction`.
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
    """Kind `provision_config`, parent the service, name as `provision_config_name` says."""

    service: str
    function: str
    qualifier: str
    target: int = 0
    scheduled_actions: tuple[ScheduledAction, ...] = ()
    target_tracking_policies: tuple[TargetTrackingPolicy, ...] = ()
    always_allocate_cpu: bool = msgspec.field(default=False, name="alwaysAllocateCPU")
    always_allocate_gpu: bool = msgspec.field(default=False, name="alwaysAllocateGPU")


class ScalingPolicy(msgspec.Struct, frozen=True, rename="camel"):
    """A `TargetTrackingPolicy` in the words of scaling configurations; without times it holds always."""

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
    """Kind `scaling_config`, parent the owner, name as `provision_config_name` says. Policies are as sent.

    `min_instances` is as many provisioned instances; scheduled and horizontal policies change how many. Without
    `enable_on_demand_scaling` there are no others.
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
        """What it asks for in the words of provisioned instances. Raises `msgspec.ValidationError`."""
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
    """Kind `on_demand_config`, parent "", name the `resource`. Zero instances means that no call is served."""

    resource: str
    maximum_instance_count: int


def async_config_name(function: str, qualifier: str) -> str:
    return f"{function}/{qualifier}"


def provision_config_name(function: str, qualifier: str) -> str:
    return f"{qualifier}#{function}"


def on_demand_resource(service: str, qualifier: str, function: str) -> str:
    return f"services/{service}.{qualifier}/functions/{function}"
