"""Converts records into the answers of API 2021-04-06 that differ from other versions with services.

Called by the routes (reference/api.md §4).
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from sesame.fc.services import shapes, shapes_account
from sesame.fc.shapes import time
from sesame.model.arn import Arns
from sesame.model.binding import EventSource
from sesame.model.layer import parse_layer_arn
from sesame.model.records import Record
from sesame.model.service import OssMountConfig, Service
from sesame.model.trigger import Trigger, parts_of_parent


class ServiceAnswer(shapes.ServiceAnswer, frozen=True, kw_only=True, rename="camel"):
    """`useSLRAuthentication` is always false: a service always acts as its own role."""

    oss_mount_config: OssMountConfig
    use_slr_authentication: bool = msgspec.field(name="useSLRAuthentication")


class FunctionAnswer(shapes.FunctionAnswer, frozen=True, kw_only=True, rename="camel"):
    """`layersArnV2` names the layers in the newer of the two formats."""

    layers_arn_v2: tuple[str, ...] = msgspec.field(name="layersArnV2")


class TriggerAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`triggerConfig` is the JSON text of an object. Only HTTP triggers have URLs and a host name."""

    trigger_name: str
    trigger_id: str
    trigger_type: str
    description: str
    source_arn: str | None
    target_arn: str
    invocation_role: str
    qualifier: str | None
    trigger_config: str
    created_time: str
    last_modified_time: str
    url_internet: str | UnsetType = UNSET
    url_intranet: str | UnsetType = UNSET
    domain_name: str | UnsetType = UNSET


class LayerCreated(shapes_account.LayerAnswer, frozen=True, kw_only=True, rename="camel"):
    """The answer of CreateLayerVersion, whose clients spell the size differently."""

    codesize: int = msgspec.field(name="codesize")


class EventSourceAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    source_arn: str
    created_time: str


class EventSources(msgspec.Struct, frozen=True, rename="camel"):
    event_sources: tuple[EventSourceAnswer, ...]


class GpuInstance(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Never answered, as there are no GPUs to claim; only the OpenAPI document uses it."""

    instance_id: str
    public_ip: str
    created_time: str


def service(record: Record, tags: Mapping[str, str] | None, log_problem: str) -> ServiceAnswer:
    """In this version services do not include their tags; GetResourceTags does."""
    document: Service = record.document
    return ServiceAnswer(
        **asdict(shapes.service(record, None, log_problem)),
        oss_mount_config=document.oss_mount_config,
        use_slr_authentication=False,
    )


def function(record: Record, arns: Arns) -> FunctionAnswer:
    answer = shapes.function(record)
    return FunctionAnswer(**asdict(answer), layers_arn_v2=tuple(_newer(arn, arns) for arn in answer.layers))


def trigger(record: Record, base: str, arns: Arns) -> TriggerAnswer:
    document: Trigger = record.document
    service_name, function_name = parts_of_parent(record.parent)
    fields = asdict(shapes.trigger(record, base))
    url = fields["url_internet"]
    return TriggerAnswer(
        **fields | {"trigger_config": msgspec.json.encode(document.trigger_config).decode()},
        target_arn=arns.function(service_name, function_name, document.qualifier),
        domain_name=url if url is UNSET else urlsplit(url).hostname or "",
    )


def layer_created(answer: shapes_account.LayerAnswer) -> LayerCreated:
    return LayerCreated(**asdict(answer), codesize=answer.code_size)


def event_source(record: Record) -> EventSourceAnswer:
    document: EventSource = record.document
    return EventSourceAnswer(source_arn=document.source_arn, created_time=time(record.created_at))


def _newer(arn: str, arns: Arns) -> str:
    """`{owner}#{layer}#{version}` as an ARN of this account; other text is returned unchanged."""
    found = parse_layer_arn(arn)
    return arn if found is None or arn.startswith("acs:") else arns.layer(found[0], int(found[1]))
