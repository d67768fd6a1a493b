"""The result of resolving a qualifier: one flat, frozen description of the code, rights and limits of a call.

Created by `engine.resolver` through `snapshot_of`; read by the engine, which sees neither services nor paths.
"""

from collections.abc import Mapping

import msgspec

from sesame.model import container, limits
from sesame.model.bucket_mount import BucketMount, prefix_of
from sesame.model.container import ContainerImage
from sesame.model.function import Function, LifecycleHook
from sesame.model.later_settings import ANYWHERE, IN_ENVIRONMENT, IN_REQUESTS
from sesame.model.nas import NasMount, normalized_directory
from sesame.model.service import LogConfig, NasConfig, OssMountConfig, Service
from sesame.model.session_affinity import SessionAffinity, affinity_of
from sesame.model.web_server import WebServer, config_of, health_check_of, is_custom, is_web_server, web_server_of


class LogTarget(msgspec.Struct, frozen=True):
    """The target of the function's logs; empty strings if none is set.

    With `request_metrics` it also gets a row per call; with `instance_metrics`, rows of the instances' resource use.
    """

    project: str = ""
    logstore: str = ""
    request_metrics: bool = False
    instance_metrics: bool = False


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`instances` caps this function's on-demand instances under this qualifier, `reserved` under all of its
    qualifiers; None means no cap.

    An instance serves up to `concurrency` calls at a time. It ends after `idle_timeout_s` without a call or, if that is
    None, after the server's keep-alive time. `cpu` is in processors; None: by the memory size.
    """

    memory_mb: int
    disk_mb: int
    timeout_s: int
    initialization_timeout_s: int
    instances: int | None = None
    reserved: int | None = None
    concurrency: int = 1
    idle_timeout_s: int | None = None
    cpu: float | None = None


class Hook(msgspec.Struct, frozen=True):
    """A handler that runs before a freeze or an orderly end; or, instead, a `command` that runs in the instance."""

    handler: str
    timeout_s: int
    command: tuple[str, ...] = ()


class LaunchConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the runtime runs. `environment` holds the function's own variables; unset handlers are None or "".

    `web_server` is set for functions that are web servers. Only they may serve several calls at a time or have an
    `initializer_command`, which replaces the initializer. With an `image`, the image's program is the web server.
    """

    handler: str
    initializer: str = ""
    initializer_command: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    pre_freeze: Hook | None = None
    pre_stop: Hook | None = None
    web_server: WebServer | None = None
    image: ContainerImage | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Immutable, so that a call sees one version of code and configuration.

    `key` changes with anything that an instance is built from; instances are pooled by it. `service` and `function` are
    names. `role` is the ARN of the role whose temporary keys calls get, or "". `code` and `layers` are SHA-256 of code
    packages; layers are merged at /opt, earlier ones taking precedence. `code_checksum` is the CRC-64 that the API
    shows. With `debug`, instances run a debugger that listens (`engine.debugging`). Logs of a `trial` instance appear
    only in the outcome of its call. With a `jaeger_endpoint`, the service's tracing is on, and functions are told where
    to send spans. `nas` and `buckets` are mounted into each instance. With an `affinity`, calls belong to sessions.
    Functions receive temporary keys in the environment, in the request and its context, or in neither.
    """

    key: str
    service: str
    function: str
    version_id: str
    runtime: str
    role: str
    log_target: LogTarget
    limits: Limits
    launch: LaunchConfig
    code: str
    code_checksum: str
    layers: tuple[str, ...] = ()
    debug: bool = False
    trial: bool = False
    jaeger_endpoint: str = ""
    nas: tuple[NasMount, ...] = ()
    buckets: tuple[BucketMount, ...] = ()
    affinity: SessionAffinity | None = None
    internet: bool = True
    keys_in_environment: bool = True
    keys_in_requests: bool = True


class Resolved(msgspec.Struct, frozen=True):
    """The results of resolving besides the two records; `Snapshot` and `Limits` describe the fields."""

    key: str
    version_id: str
    layers: tuple[str, ...] = ()
    instance_cap: int | None = None
    reserved: int | None = None


def snapshot_of(service: Service, function: Function, resolved: Resolved) -> Snapshot:
    """Flattens a service and one of its functions, either current or frozen in a version."""
    hooks, later, custom = function.instance_lifecycle_config, function.later, is_custom(function.runtime)
    server = _web_server(function)
    return Snapshot(
        key=resolved.key,
        service=service.service_name,
        function=function.function_name,
        version_id=resolved.version_id,
        runtime=function.runtime,
        role=service.role,
        log_target=_log_target(service.log_config),
        limits=Limits(
            memory_mb=function.memory_size,
            disk_mb=function.disk_size,
            timeout_s=function.timeout,
            initialization_timeout_s=function.initialization_timeout,
            instances=resolved.instance_cap,
            reserved=resolved.reserved,
            concurrency=function.instance_concurrency if server is not None and server.listens else 1,
            idle_timeout_s=later.idle_timeout or None,
            cpu=function.cpu,
        ),
        launch=LaunchConfig(
            handler=function.handler,
            initializer=function.initializer,
            initializer_command=later.initializer_command if custom else (),
            environment=function.environment_variables,
            pre_freeze=_hook(hooks.pre_freeze if hooks else None),
            pre_stop=Hook("", later.pre_stop_timeout, later.pre_stop_command)
            if custom and later.pre_stop_command
            else _hook(hooks.pre_stop if hooks else None),
            web_server=server,
            image=_image(function),
        ),
        code=function.package.sha256,
        code_checksum=function.package.checksum,
        layers=resolved.layers,
        jaeger_endpoint=str((service.tracing_config.params or {}).get("endpoint", "")),
        nas=_nas(service.nas_config),
        buckets=_buckets(service.oss_mount_config),
        affinity=_affinity(function),
        internet=service.internet_access,
        keys_in_environment=later.disable_inject_credentials not in (IN_ENVIRONMENT, ANYWHERE),
        keys_in_requests=later.disable_inject_credentials not in (IN_REQUESTS, ANYWHERE),
    )


def _affinity(function: Function) -> SessionAffinity | None:
    """POLICY: invalid settings stored before they were validated leave a function without sessions, not without calls.

    `control.function_checks` refuses them whenever the function is changed.
    """
    try:
        return affinity_of(function)
    except msgspec.ValidationError:
        return None


def _web_server(function: Function) -> WebServer | None:
    if not is_web_server(function.runtime):
        return None
    if not is_custom(function.runtime):
        return WebServer()
    check = health_check_of(function.custom_health_check_config)
    if function.runtime == limits.IMAGE_RUNTIME:
        config = container.config_of(function.custom_container_config)
        return container.container_server_of(config, function.ca_port, check)
    return web_server_of(config_of(function.custom_runtime_config), function.ca_port, check)


def _image(function: Function) -> ContainerImage | None:
    if function.runtime != limits.IMAGE_RUNTIME:
        return None
    return container.container_image_of(container.config_of(function.custom_container_config))


def _log_target(config: LogConfig) -> LogTarget:
    named = bool(config.project)
    return LogTarget(
        config.project,
        config.logstore,
        request_metrics=named and config.enable_request_metrics,
        instance_metrics=named and config.enable_instance_metrics,
    )


def _nas(config: NasConfig) -> tuple[NasMount, ...]:
    return tuple(
        NasMount(
            server_addr=point.server_addr,
            mount_dir=normalized_directory(point.mount_dir),
            user_id=config.user_id,
            group_id=config.group_id,
        )
        for point in config.mount_points
    )


def _buckets(config: OssMountConfig) -> tuple[BucketMount, ...]:
    return tuple(
        BucketMount(
            bucket=point.bucket_name,
            prefix=prefix_of(point.bucket_path),
            mount_dir=normalized_directory(point.mount_dir),
            read_only=point.read_only,
        )
        for point in config.mount_points
    )


def _hook(configured: LifecycleHook | None) -> Hook | None:
    return Hook(configured.handler, configured.timeout) if configured and configured.handler else None
