"""What the API of 2023-03-30 says of a function and that of 2016-08-15 has no words for.

A part of `model.function.Function`, so that versions freeze it and an update through another API version keeps it.
Field names follow reference/api.md §5.2; docs/compatibility.md says which of them do something here.
"""

from typing import Any

import msgspec

# Of `disable_inject_credentials`, beside "": where calls have no temporary keys.
NOWHERE, IN_ENVIRONMENT, IN_REQUESTS, ANYWHERE = "None", "Env", "Request", "All"
WITHHELD = (NOWHERE, IN_ENVIRONMENT, IN_REQUESTS, ANYWHERE)


class LaterSettings(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Empty where nothing was set. Commands are those of hooks in custom runtimes, which have no handler."""

    initializer_command: tuple[str, ...] = ()
    pre_stop_command: tuple[str, ...] = ()
    pre_stop_timeout: int = 3
    session_affinity: str = ""
    session_affinity_config: str = ""
    instance_isolation_mode: str = ""
    idle_timeout: int | None = None
    disable_ondemand: bool = False
    disable_inject_credentials: str = ""
    enable_long_living: bool = False
    enable_llm_metrics: bool = False
    gpu_type: str = ""
    juice_fs_config: dict[str, Any] | None = None
    polar_fs_config: dict[str, Any] | None = None
    micro_sandbox_config: dict[str, Any] | None = None
