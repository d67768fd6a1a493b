"""Types whose limits appear in the API description, so that clients and code generators know them in advance.

Used by structs that are decoded from request bodies. `control` enforces the limits.
"""

import re
from typing import Annotated

import msgspec

from sesame.model import limits, recording


def shown(**schema: object) -> msgspec.Meta:
    """JSON Schema keywords that appear in the description and are not enforced."""
    return msgspec.Meta(extra_json_schema=schema)


_END = r"\Z"


def _ecma(pattern: re.Pattern[str]) -> str:
    """The pattern as JSON Schema writes it, anchored at both ends."""
    return f"^{pattern.pattern.removesuffix(_END)}$"


Description = Annotated[str, shown(maxLength=limits.DESCRIPTION_CHARS)]
Handler = Annotated[str, shown(maxLength=limits.HANDLER_CHARS)]
ServiceName = Annotated[str, shown(pattern=_ecma(limits.SERVICE_NAME))]
FunctionName = Annotated[str, shown(pattern=_ecma(limits.FUNCTION_NAME))]
TriggerName = Annotated[str, shown(pattern=_ecma(limits.TRIGGER_NAME))]
AliasName = Annotated[str, shown(pattern=_ecma(limits.ALIAS_NAME))]
Runtime = Annotated[str, shown(enum=list(limits.RUNTIMES))]
RecordingMode = Annotated[str, shown(enum=[*recording.MODES, "server"])]
TimeoutS = Annotated[int, shown(minimum=limits.TIMEOUT_S_MIN, maximum=limits.TIMEOUT_S_MAX)]
InitializationTimeoutS = Annotated[
    int, shown(minimum=limits.INITIALIZATION_TIMEOUT_S_MIN, maximum=limits.INITIALIZATION_TIMEOUT_S_MAX)
]
MemoryMb = Annotated[
    int,
    shown(minimum=limits.MEMORY_MB_MIN, maximum=limits.MEMORY_MB_MAX, multipleOf=limits.MEMORY_MB_STEP),
]
DiskMb = Annotated[int, shown(enum=list(limits.DISK_MB_CHOICES))]
Concurrency = Annotated[int, shown(minimum=limits.INSTANCE_CONCURRENCY_MIN, maximum=limits.INSTANCE_CONCURRENCY_MAX)]
HookTimeoutS = Annotated[int, shown(minimum=1, maximum=limits.LIFECYCLE_HOOK_TIMEOUT_S_MAX)]
# 0 is a port that is not set.
Port = Annotated[int, shown(minimum=0, maximum=limits.PORT_MAX)]
Cpu = Annotated[float, shown(minimum=limits.CPU_MIN, maximum=limits.CPU_MAX)]
NasId = Annotated[int, shown(minimum=limits.NAS_ID_MIN, maximum=limits.NAS_ID_MAX)]
AsyncRetries = Annotated[int, shown(minimum=0, maximum=limits.ASYNC_RETRIES_MAX)]
AsyncEventAgeS = Annotated[int, shown(minimum=1, maximum=limits.ASYNC_EVENT_AGE_S_MAX)]
ProvisionTarget = Annotated[int, shown(minimum=0, maximum=limits.PROVISION_TARGET_MAX)]
OnDemandInstances = Annotated[int, shown(minimum=0, maximum=limits.ON_DEMAND_INSTANCES_MAX)]
DomainProtocol = Annotated[str, shown(enum=list(limits.DOMAIN_PROTOCOLS))]
