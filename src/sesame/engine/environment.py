"""What an instance is told: its environment and the static part of its context when it is made, the rest for each call.

Called by `engine.pool`, `engine.dispatcher` and `engine.hooks`. Both eras of reference/runtime.md §11 are served.
Credentials are in no environment here: they change between calls, and the shim sets them from each call's meta.
"""

from collections.abc import Callable
from typing import Any

from sesame.model import limits
from sesame.model.invocation import Credentials, Invocation, Snapshot
from sesame.model.service import Service

# Credentials must outlive the call they are given to by this much.
CREDENTIALS_MARGIN_S = 60.0

# The keys of a service's role, good for at least so many seconds.
CredentialsOf = Callable[[Service, float], Credentials]

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


def call_meta(invocation: Invocation, snapshot: Snapshot, credentials: Credentials) -> dict[str, Any]:
    """What changes from call to call (docs/wire-protocol.md)."""
    return {
        "qualifier": invocation.target.qualifier,
        "version_id": snapshot.version_id,
        "retry_count": invocation.retry_count,
        "credentials": {
            "access_key_id": credentials.access_key_id,
            "access_key_secret": credentials.access_key_secret,
            "security_token": credentials.security_token,
        },
        "tracing": invocation.tracing,
        "http_params": invocation.http_params,
    }
