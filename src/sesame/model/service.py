"""The service: what is versioned, holds a role and a log target, and contains functions.

Built by `control`, kept by `store.catalog`, read by the engine and the endpoints.
Field names and defaults follow reference/api.md §3.1; on the wire they are lowerCamelCase.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from sesame.model.described import NasId


class LogConfig(msgspec.Struct, frozen=True, rename="camel"):
    """Where a service's logs belong; empty strings where no target is set."""

    project: str = ""
    logstore: str = ""
    enable_request_metrics: bool = False
    enable_instance_metrics: bool = False
    log_begin_rule: str = "None"


class VpcConfig(msgspec.Struct, frozen=True, rename="camel"):
    vpc_id: str = ""
    v_switch_ids: tuple[str, ...] = ()
    security_group_id: str = ""
    role: str = ""


class NasMountPoint(msgspec.Struct, frozen=True, rename="camel"):
    """`enable_tls` is there only where it was said: API 2016-08-15 does not know it."""

    server_addr: str = ""
    mount_dir: str = ""
    enable_tls: bool | UnsetType = msgspec.field(default=UNSET, name="enableTLS")


class NasConfig(msgspec.Struct, frozen=True, rename="camel"):
    user_id: NasId = 0
    group_id: NasId = 0
    mount_points: tuple[NasMountPoint, ...] = ()


class OssMountPoint(msgspec.Struct, frozen=True, rename="camel"):
    """A bucket, or a directory in it, and where functions are to see it."""

    bucket_name: str = ""
    bucket_path: str = ""
    endpoint: str = ""
    mount_dir: str = ""
    read_only: bool = False


class OssMountConfig(msgspec.Struct, frozen=True, rename="camel"):
    mount_points: tuple[OssMountPoint, ...] = ()


class TracingConfig(msgspec.Struct, frozen=True, rename="camel"):
    """`type` and `params` are both null while tracing is off; the keys are always present."""

    type: str | None = None
    params: dict[str, Any] | None = None


class Service(msgspec.Struct, frozen=True, rename="camel"):
    """One service as configured now (or, inside a version, as it was). Name, times and etag live on its record."""

    service_name: str
    service_id: str
    description: str = ""
    role: str = ""
    log_config: LogConfig = LogConfig()
    vpc_config: VpcConfig = VpcConfig()
    internet_access: bool = True
    nas_config: NasConfig = NasConfig()
    oss_mount_config: OssMountConfig = OssMountConfig()
    tracing_config: TracingConfig = TracingConfig()
