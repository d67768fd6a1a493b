"""What a qualifier resolves to: one flat, frozen description of what a call runs, with which rights and limits.

Made by `engine.resolver` through `snapshot_of`; read by the engine, which sees neither services nor paths.
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
    """Where the function's logs belong; empty strings where none is set.

    With `request_metrics` a row for each call belongs there too; with `instance_metrics`, rows of what instances use.
    """

    project: str = ""
    logstore: str = ""
    request_metrics: bool = False
    instance_metrics: bool = False


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`instances` is the on-demand cap of this function under this qualifier, `reserved` the cap under all of its
    qualifiers; None where none is set.

    An instance serves up to `concurrency` calls at a time. It ends after `idle_timeout_s` without a call; where that is
    None, after the server's keep-alive time.
    """

    memory_mb: int
    disk_mb: int
    timeout_s: int
    initialization_timeout_s: int
    instances: int | None = None
    reserved: int | None = None
    concurrency: int = 1
    idle_timeout_s: int | None = None


class Hook(msgspec.Struct, frozen=True):
    """A handler that runs before a freeze or before an orderly end; or, in its place, a `command` in the instance."""

    handler: str
    timeout_s: int
    command: tuple[str, ...] = ()


class LaunchConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the runtime runs. `environment` is the function's own variables; empty handlers are None or "".

    `web_server` is there for functions that are web servers; nothing else may serve several calls at a time, and
    nothing else has an `initializer_command`, which runs in the place of the initializer. With an `image`, its program
    is the web server.
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
    """Immutable, so that a call sees one code and one configuration.

    `key` changes whenever anything changes that an instance is built from; instances are pooled by it. `service` and
    `function` are names. `role` is the ARN of the role whose temporary keys calls get, or "". `code` and `layers` are
    the sha256 of code packages; layers lie merged at /opt, an earlier one over a later one. `code_checksum` is the
    CRC-64 that the API shows. With `debug` an instance has a debugger listen (`engine.debugging`). What
    an instance of a `trial` writes is in the outcome of its call alone.
    With a `jaeger_endpoint`, the service's tracing is on, and functions are told where to send their spans. `nas` and
    `buckets` are mounted into each instance. With an `affinity`, calls belong to sessions. Temporary keys are given to
    functions in the environment, in the request and its context, or in neither.
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
    keys_in_environment: bool = True
    keys_in_requests: bool = True


class Resolved(msgspec.Struct, frozen=True):
    """What resolving finds beside the two records: see `Snapshot` and `Limits` for the meaning."""

    key: str
    version_id: str
    layers: tuple[str, ...] = ()
    instance_cap: int | None = None
    reserved: int | None = None


def snapshot_of(service: Service, function: Function, resolved: Resolved) -> Snapshot:
    """Flattens a service and one of its functions, as they are now or as a version froze them."""
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
        keys_in_environment=later.disable_inject_credentials not in (IN_ENVIRONMENT, ANYWHERE),
        keys_in_requests=later.disable_inject_credentials not in (IN_REQUESTS, ANYWHERE),
    )


def _affinity(function: Function) -> SessionAffinity | None:
    """POLICY: settings that were stored before they were checked leave a function without sessions, not without calls.

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
