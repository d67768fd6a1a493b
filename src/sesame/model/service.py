"""A service: contains functions, is versioned, and has a role and a log target.

Created by `control`, stored by `store.catalog`, read by the engine and the endpoints.
Field names and defaults follow reference/api.md §3.1; on the wire they are lowerCamelCase.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from sesame.model.described import NasId


class LogConfig(msgspec.Struct, frozen=True, rename="camel"):
    """The target of a service's logs; empty strings if none is set."""

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
    """`enable_tls` is present only if it was sent: API 2016-08-15 lacks it."""

    server_addr: str = ""
    mount_dir: str = ""
    enable_tls: bool | UnsetType = msgspec.field(default=UNSET, name="enableTLS")


class NasConfig(msgspec.Struct, frozen=True, rename="camel"):
    user_id: NasId = 0
    group_id: NasId = 0
    mount_points: tuple[NasMountPoint, ...] = ()


class OssMountPoint(msgspec.Struct, frozen=True, rename="camel"):
    """A bucket, or a directory in it, and its mount point in functions."""

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
    """A service's current configuration or, inside a version, a frozen one. Its record has the name, times and etag."""

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
