"""The environment of an instance: what the platform sets, what the function sets, and what wins.

Called by `engine.pool` when an instance is made. Both eras of reference/runtime.md §11 are served.
Credentials are not here: they change between calls, and the shim sets them from each call's meta.
"""

from sesame.model import limits
from sesame.model.invocation import Snapshot

_PLATFORM = {
    "FC_FUNC_CODE_PATH": "/code/",
    "FC_SERVER_PORT": "9000",
    "FC_SERVER_CAM_PORT": "10080",
    "FC_FUNC_LOG_PATH": "/var/log/fc/",
    "FC_CUSTOM_LISTEN_PORT": "9000",
    "FC_SERVER_LOG_LEVEL": "INFO",
    # Its name is sure and its value is not known: whoever asks for it finds it, and no path that is not there.
    "FC_SERVER_LOG_PATH": "",
}
# POLICY: FC_SNAPSHOT_FLAG is not set, as no instance is made from a snapshot.
# The runtimes on Debian 11 and later call the version so.
_NEWER_BASE = frozenset({"python3.12"})
_DEFAULTS = {
    "HOME": "/tmp",
    "PWD": "/code",
    "LANG": "C.UTF-8",
    "TERM": "xterm",
    "SHLVL": "0",
    "TZ": "UTC",
    "PATH": "/opt/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LD_LIBRARY_PATH": "/code/:/code//lib:/opt/lib:/usr/local/lib",
}


def compose(snapshot: Snapshot, instance_id: str, account_id: str, region: str) -> dict[str, str]:
    """Defaults give way to the function's own variables; the platform's FC_* names do not (they are reserved)."""
    function, service = snapshot.function, snapshot.service
    newer = {"FC_FUNCTION_VERSION": snapshot.version_id} if function.runtime in _NEWER_BASE else {}
    return {
        **_DEFAULTS,
        **function.environment_variables,
        **_PLATFORM,
        "FC_ACCOUNT_ID": account_id,
        "FC_REGION": region,
        "FC_SERVICE_NAME": service.service_name,
        "FC_FUNCTION_NAME": function.function_name,
        "FC_FUNCTION_HANDLER": function.handler,
        "FC_FUNCTION_MEMORY_SIZE": str(function.memory_size),
        "FC_QUALIFIER": snapshot.version_id or limits.LATEST,
        "FC_VER_ID": snapshot.version_id,
        **newer,
        "FC_INSTANCE_ID": instance_id,
        "FC_RUNTIME_VERSION": function.runtime,
        "FC_SERVER_PATH": f"/var/fc/runtime/{function.runtime}",
        "topic": f"FCLogs:{function.function_name}",
    }


def setup(snapshot: Snapshot, account_id: str, region: str) -> dict[str, object]:
    """The static part of the context (docs/wire-protocol.md)."""
    function, service = snapshot.function, snapshot.service
    hooks = function.instance_lifecycle_config
    return {
        "account_id": account_id,
        "region": region,
        "service": {
            "name": service.service_name,
            "log_project": service.log_config.project,
            "log_store": service.log_config.logstore,
        },
        "function": {
            "name": function.function_name,
            "handler": function.handler,
            "memory": function.memory_size,
            "timeout": function.timeout,
            "initializer": function.initializer,
            "initialization_timeout": function.initialization_timeout,
        },
        "pre_freeze": hooks.pre_freeze.handler if hooks and hooks.pre_freeze else "",
        "pre_stop": hooks.pre_stop.handler if hooks and hooks.pre_stop else "",
        "notice": "",
    }
