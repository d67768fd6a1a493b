"""Settings of a function that API 2023-03-30 has and API 2016-08-15 lacks.

Part of `model.function.Function`, so that versions freeze them and updates through another API version keep them.
Field names follow reference/api.md §5.2; docs/compatibility.md lists the settings that Sesame acts on.
"""

from typing import Any

import msgspec

# Values of `disable_inject_credentials`, besides "": where calls get no temporary keys.
NOWHERE, IN_ENVIRONMENT, IN_REQUESTS, ANYWHERE = "None", "Env", "Request", "All"
WITHHELD = (NOWHERE, IN_ENVIRONMENT, IN_REQUESTS, ANYWHERE)


class LaterSettings(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Unset fields are empty. The commands are hooks of custom runtimes, which have no handlers."""

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
