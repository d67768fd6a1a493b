"""Composes the data passed to an instance: environment and static context at its start, the rest with each call.

Called by `engine.startup`, `engine.dispatcher` and `engine.hooks`. Uses the variable names of both generations of the
cloud's runtimes (reference/runtime.md §11). Credentials of Python functions are not in the initial environment, because
they change between calls: the shim sets them from each call's metadata.
"""

from collections.abc import Callable
from typing import Any

from sesame.model import limits
from sesame.model.invocation import Credentials, Invocation
from sesame.model.owner import service_of, stands_alone
from sesame.model.recursion import Chain
from sesame.model.snapshot import Snapshot
from sesame.model.span_context import new_trace

# How long credentials outlive the longest possible call.
CREDENTIALS_MARGIN_S = 60.0
# How long the credentials in a custom runtime's environment last: its program gets them once, at the start
# (reference/runtime.md §4.2).
INSTANCE_CREDENTIALS_S = 36 * 3600.0

# (role ARN, session name, seconds, chain of calling functions) → temporary keys of the role, valid for at least that
# many seconds.
CredentialsOf = Callable[[str, str, float, Chain], Credentials]

_PLATFORM = {
    "FC_FUNC_CODE_PATH": "/code/",
    "FC_SERVER_PORT": "9000",
    "FC_SERVER_CAM_PORT": "10080",
    "FC_FUNC_LOG_PATH": "/var/log/fc/",
    "FC_CUSTOM_LISTEN_PORT": "9000",
    "FC_SERVER_LOG_LEVEL": "INFO",
    # The cloud sets this name, but its value is unknown: any path set here would not exist.
    "FC_SERVER_LOG_PATH": "",
}
# POLICY: FC_SNAPSHOT_FLAG is not set, because no instance is restored from a snapshot.
# Only the runtimes based on Debian 11 and later have FC_FUNCTION_VERSION.
_NEWER_BASE = frozenset({"python3.12", "custom.debian11", "custom.debian12"})
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
_NO_KEYS = {"access_key_id": "", "access_key_secret": "", "security_token": ""}


def compose(snapshot: Snapshot, instance_id: str, account_id: str, region: str) -> dict[str, str]:
    """Returns the environment. Functions override the defaults, but not the platform's reserved FC_* names.

    A container image provides the defaults itself.
    """
    newer = {"FC_FUNCTION_VERSION": snapshot.version_id} if snapshot.runtime in _NEWER_BASE else {}
    server = snapshot.launch.web_server
    if server is not None:
        newer |= {"FC_SERVER_PORT": str(server.port), "FC_CUSTOM_LISTEN_PORT": str(server.port)}
    return {
        **(_DEFAULTS if snapshot.launch.image is None else {}),
        **snapshot.launch.environment,
        **_PLATFORM,
        "FC_ACCOUNT_ID": account_id,
        "FC_REGION": region,
        **({} if stands_alone(snapshot.service) else {"FC_SERVICE_NAME": snapshot.service}),
        "FC_FUNCTION_NAME": snapshot.function,
        "FC_FUNCTION_HANDLER": snapshot.launch.handler,
        "FC_FUNCTION_MEMORY_SIZE": str(snapshot.limits.memory_mb),
        "FC_QUALIFIER": snapshot.version_id or limits.LATEST,
        "FC_VER_ID": snapshot.version_id,
        **newer,
        "FC_INSTANCE_ID": instance_id,
        "FC_RUNTIME_VERSION": snapshot.runtime,
        "FC_SERVER_PATH": f"/var/fc/runtime/{snapshot.runtime}",
        "topic": f"FCLogs:{snapshot.function}",
    }


def key_variables(keys: Credentials) -> dict[str, str]:
    """Temporary keys under the variable names of both generations; the newer names only if the function has a role."""
    variables = {
        "accessKeyID": keys.access_key_id,
        "accessKeySecret": keys.access_key_secret,
        "securityToken": keys.security_token,
    }
    if keys.access_key_id:
        variables["ALIBABA_CLOUD_ACCESS_KEY_ID"] = keys.access_key_id
        variables["ALIBABA_CLOUD_ACCESS_KEY_SECRET"] = keys.access_key_secret
        variables["ALIBABA_CLOUD_SECURITY_TOKEN"] = keys.security_token
    return variables


def setup(snapshot: Snapshot, account_id: str, region: str) -> dict[str, object]:
    """The static part of the context (docs/wire-protocol.md)."""
    launch = snapshot.launch
    return {
        "account_id": account_id,
        "region": region,
        "alone": stands_alone(snapshot.service),
        "service": {
            "name": service_of(snapshot.service),
            "log_project": snapshot.log_target.project,
            "log_store": snapshot.log_target.logstore,
        },
        "function": {
            "name": snapshot.function,
            "handler": snapshot.launch.handler,
            "memory": snapshot.limits.memory_mb,
            "timeout": snapshot.limits.timeout_s,
            "initializer": launch.initializer,
            "initialization_timeout": snapshot.limits.initialization_timeout_s,
        },
        "pre_freeze": launch.pre_freeze.handler if launch.pre_freeze else "",
        "pre_stop": launch.pre_stop.handler if launch.pre_stop else "",
        "notice": "",
    }


def call_meta(invocation: Invocation, snapshot: Snapshot, credentials: Credentials) -> dict[str, Any]:
    """The part of the context that changes from call to call (docs/wire-protocol.md)."""
    keys = _keys(credentials)
    meta = {
        "qualifier": invocation.target.qualifier,
        "version_id": snapshot.version_id,
        "retry_count": invocation.retry_count,
        "credentials": keys if snapshot.keys_in_requests else _NO_KEYS,
        "tracing": _traced(invocation, snapshot) if snapshot.jaeger_endpoint else invocation.tracing,
        "http_params": invocation.http_params,
    }
    if snapshot.keys_in_environment != snapshot.keys_in_requests:
        meta["environment_credentials"] = keys if snapshot.keys_in_environment else _NO_KEYS
    return meta


def _keys(credentials: Credentials) -> dict[str, str]:
    return {
        "access_key_id": credentials.access_key_id,
        "access_key_secret": credentials.access_key_secret,
        "security_token": credentials.security_token,
    }


def _traced(invocation: Invocation, snapshot: Snapshot) -> dict[str, object]:
    """Adds the service's tracing endpoint; a call that is not part of a trace starts a new one."""
    tracing = {"span_baggages": {}, **(invocation.tracing or {}), "jaeger_endpoint": snapshot.jaeger_endpoint}
    if not tracing.get("span_context"):
        tracing["span_context"] = new_trace().as_jaeger()
    return tracing
