"""Shapes records into the API's JSON.

Called by the routes for every service and function that leaves this door (reference/api.md §3.1, §3.2).
Never reads the catalog, and never shows code or secrets.
"""

from datetime import UTC, datetime
from typing import Any

from sesame.model.function import Function
from sesame.model.records import Record
from sesame.model.service import Service


def service(record: Record) -> dict[str, Any]:
    """A service as GetService answers it."""
    document: Service = record.document
    return {
        "serviceName": document.service_name,
        "serviceId": document.service_id,
        "description": document.description,
        "role": document.role,
        "logConfig": document.log_config,
        "vpcConfig": document.vpc_config,
        "internetAccess": document.internet_access,
        "nasConfig": document.nas_config,
        "tracingConfig": document.tracing_config,
        **_times(record),
    }


def function(record: Record) -> dict[str, Any]:
    """A function as GetFunction answers it."""
    document: Function = record.document
    return {
        "functionName": document.function_name,
        "functionId": document.function_id,
        "description": document.description,
        "runtime": document.runtime,
        "handler": document.handler,
        "initializer": document.initializer,
        "timeout": document.timeout,
        "initializationTimeout": document.initialization_timeout,
        "memorySize": document.memory_size,
        "codeSize": document.package.size_bytes,
        "codeChecksum": document.package.checksum,
        "environmentVariables": document.environment_variables,
        "instanceConcurrency": document.instance_concurrency,
        "instanceSoftConcurrency": document.instance_soft_concurrency,
        "instanceType": document.instance_type,
        "instanceLifecycleConfig": document.instance_lifecycle_config,
        "layers": document.layers,
        "caPort": document.ca_port,
        "customContainerConfig": document.custom_container_config,
        "customRuntimeConfig": document.custom_runtime_config,
        "customHealthCheckConfig": document.custom_health_check_config,
        "customDNS": document.custom_dns,
        "gpuMemorySize": document.gpu_memory_size,
        "cpu": document.cpu,
        "diskSize": document.disk_size,
        **_times(record),
    }


def time(unix_s: float) -> str:
    """`2020-04-08T08:00:15Z`: this API's times have no fractions."""
    return datetime.fromtimestamp(int(unix_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _times(record: Record) -> dict[str, str]:
    return {"createdTime": time(record.created_at), "lastModifiedTime": time(record.modified_at)}
