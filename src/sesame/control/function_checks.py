"""The rules for the settings of a function (reference/api.md §2, §3.2; reference/runtime.md §11, §12).

Called by `control.functions` with the function as it would be stored.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from sesame.control import checks
from sesame.model import container, limits
from sesame.model.errors import Invalid, Missing, Unusable
from sesame.model.function import Function, LifecycleHook
from sesame.model.later_settings import WITHHELD, LaterSettings
from sesame.model.layer import LAYER_FORMS, parse_layer_arn
from sesame.model.session_affinity import AFFINITIES, ISOLATION_MODES, NONE, affinity_of
from sesame.model.web_server import ARGUMENTS_MAX, Arguments, config_of, health_check_of, is_custom

LAYERS_MAX = 5
_INSTANCE_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}\Z")


def check_function(function: Function) -> None:
    """Raises `Rejected` for the first violated rule."""
    checks.one_of("runtime", function.runtime, limits.RUNTIMES)
    _check_callables(function)
    checks.description(function.description)
    checks.between("timeout", function.timeout, limits.TIMEOUT_S_MIN, limits.TIMEOUT_S_MAX)
    checks.between(
        "initialization_timeout",
        function.initialization_timeout,
        limits.INITIALIZATION_TIMEOUT_S_MIN,
        limits.INITIALIZATION_TIMEOUT_S_MAX,
    )
    _check_environment(function.environment_variables)
    _check_resources(function)
    _check_concurrency(function)
    _check_layers(function.layers)
    _check_kept_settings(function)
    _check_sessions(function)
    _check_later(function.later)
    if is_custom(function.runtime):
        _check_web_server(function)
    _check_commands(function)


def _check_callables(function: Function) -> None:
    # A handler without a dot is stored: the cloud reports `Invalid handler` at the call (reference/runtime.md §6.2).
    if not function.handler:
        raise Missing("handler")
    checks.length("handler", function.handler, limits.HANDLER_CHARS)
    checks.length("initializer", function.initializer, limits.HANDLER_CHARS)
    hooks = function.instance_lifecycle_config
    if hooks is not None:
        _check_hook("instance_lifecycle_config.pre_freeze", hooks.pre_freeze)
        _check_hook("instance_lifecycle_config.pre_stop", hooks.pre_stop)


def _check_hook(label: str, hook: LifecycleHook | None) -> None:
    if hook is not None:
        checks.length(f"{label}.handler", hook.handler, limits.HANDLER_CHARS)
        checks.between(f"{label}.timeout", hook.timeout, 1, limits.LIFECYCLE_HOOK_TIMEOUT_S_MAX)


def _check_commands(function: Function) -> None:
    later = function.later
    for name, command in (("initializer", later.initializer_command), ("pre_stop", later.pre_stop_command)):
        label = f"instance_lifecycle_config.{name}.command"
        if not command:
            continue
        if not is_custom(function.runtime):
            raise Invalid(label, f"a handler, as a function of {function.runtime} has", checks.shown(command[0]))
        try:
            msgspec.convert(list(command), Arguments)
        except msgspec.ValidationError as error:
            raise Invalid(
                label, f"at most {ARGUMENTS_MAX} texts of at most 4096 characters without NUL", str(error)
            ) from error
        if not command[0]:
            raise Invalid(label, "a program, and its arguments", checks.shown(command[0]))
    if later.pre_stop_command:
        label = "instance_lifecycle_config.pre_stop.timeout"
        checks.between(label, later.pre_stop_timeout, 1, limits.LIFECYCLE_HOOK_TIMEOUT_S_MAX)


def _check_environment(variables: dict[str, str]) -> None:
    for name, value in variables.items():
        if not limits.ENVIRONMENT_NAME.match(name):
            raise Invalid(
                "environment_variables", "names of letters, digits and '_' that begin with a letter", checks.shown(name)
            )
        if name.startswith(limits.RESERVED_ENVIRONMENT_PREFIX) or name in limits.RESERVED_ENVIRONMENT_NAMES:
            reserved = ", ".join(sorted(limits.RESERVED_ENVIRONMENT_NAMES))
            raise Invalid(
                "environment_variables",
                f"names other than {reserved} and those that begin with {limits.RESERVED_ENVIRONMENT_PREFIX}",
                name,
            )
        if "\0" in value:
            raise Invalid("environment_variables", f"text without NUL characters in '{name}'", "a NUL character")
    total = sum(len(name.encode()) + len(value.encode()) for name, value in variables.items())
    if total > limits.ENVIRONMENT_TOTAL_BYTES:
        raise Invalid(
            "environment_variables", f"at most {limits.ENVIRONMENT_TOTAL_BYTES} bytes in all", f"{total} bytes"
        )


def _check_resources(function: Function) -> None:
    memory = function.memory_size
    if not limits.MEMORY_MB_MIN <= memory <= limits.MEMORY_MB_MAX or memory % limits.MEMORY_MB_STEP:
        allowed = f"{limits.MEMORY_MB_MIN} to {limits.MEMORY_MB_MAX} in steps of {limits.MEMORY_MB_STEP}"
        raise Invalid("memory_size", allowed, memory)
    checks.one_of("disk_size", function.disk_size, limits.DISK_MB_CHOICES)
    if not _INSTANCE_TYPE.match(function.instance_type):
        raise Invalid("instance_type", "e1 | c1 | g1", checks.shown(function.instance_type))
    if function.ca_port is not None:
        checks.between("ca_port", function.ca_port, limits.PORT_MIN, limits.PORT_MAX)
    if function.gpu_memory_size is not None:
        checks.between("gpu_memory_size", function.gpu_memory_size, 0, 1024 * 1024)
    if function.cpu is not None:
        steps = function.cpu / limits.CPU_STEP
        if not limits.CPU_MIN <= function.cpu <= limits.CPU_MAX or abs(steps - round(steps)) > 1e-6:
            allowed = f"{limits.CPU_MIN} to {limits.CPU_MAX} in steps of {limits.CPU_STEP}"
            raise Invalid("cpu", allowed, function.cpu)


def _check_concurrency(function: Function) -> None:
    low, high = limits.INSTANCE_CONCURRENCY_MIN, limits.INSTANCE_CONCURRENCY_MAX
    checks.between("instance_concurrency", function.instance_concurrency, low, high)
    if function.instance_soft_concurrency is not None:
        checks.between(
            "instance_soft_concurrency", function.instance_soft_concurrency, low, function.instance_concurrency
        )


def _check_layers(layers: tuple[str, ...]) -> None:
    if len(layers) > LAYERS_MAX:
        raise Invalid("layers", f"at most {LAYERS_MAX} layers", f"{len(layers)} layers")
    named = set()
    for arn in layers:
        checks.length("layers", arn, limits.LAYER_ARN_CHARS)
        found = parse_layer_arn(arn)
        if found is None:
            raise Invalid("layers", LAYER_FORMS, checks.shown(arn))
        named.add(found)
    if len(named) != len(layers):
        raise Invalid("layers", "every layer once", ", ".join(layers))


def _check_kept_settings(function: Function) -> None:
    for label, settings in (
        ("custom_container_config", function.custom_container_config),
        ("custom_runtime_config", function.custom_runtime_config),
        ("custom_health_check_config", function.custom_health_check_config),
        ("custom_dns", function.custom_dns),
        ("juice_fs_config", function.later.juice_fs_config),
        ("polar_fs_config", function.later.polar_fs_config),
        ("micro_sandbox_config", function.later.micro_sandbox_config),
    ):
        size = len(msgspec.json.encode(settings))
        if size > limits.KEPT_SETTINGS_BYTES:
            raise Invalid(label, f"at most {limits.KEPT_SETTINGS_BYTES} bytes of JSON", f"{size} bytes")


def _check_sessions(function: Function) -> None:
    affinity = function.later.session_affinity
    if affinity not in ("", NONE, *AFFINITIES):
        # Sessions of the Model Context Protocol are not supported.
        raise Invalid("session_affinity", " | ".join((NONE, *AFFINITIES)), checks.shown(affinity))
    try:
        affinity_of(function)
    except msgspec.ValidationError as error:
        raise Unusable(
            f"cannot be used with sessionAffinity {affinity}: {error}", field="session_affinity_config"
        ) from error


def _check_later(later: LaterSettings) -> None:
    if later.idle_timeout is not None:
        checks.between("idle_timeout", later.idle_timeout, 0, limits.IDLE_TIMEOUT_S_MAX)
    if later.instance_isolation_mode:
        checks.one_of("instance_isolation_mode", later.instance_isolation_mode, ISOLATION_MODES)
    if later.disable_inject_credentials:
        checks.one_of("disable_inject_credentials", later.disable_inject_credentials, WITHHELD)
    checks.length("gpu_config.gpu_type", later.gpu_type, limits.HANDLER_CHARS)


def _check_web_server(function: Function) -> None:
    is_image = function.runtime == limits.IMAGE_RUNTIME
    if is_image and not (function.custom_container_config or {}).get("image"):
        raise Missing("custom_container_config.image")
    checked: tuple[tuple[str, dict[str, Any] | None, Callable[[dict[str, Any] | None], object]], ...] = (
        ("custom_container_config", function.custom_container_config, container.config_of)
        if is_image
        else ("custom_runtime_config", function.custom_runtime_config, config_of),
        ("custom_health_check_config", function.custom_health_check_config, health_check_of),
    )
    for label, settings, read in checked:
        try:
            read(settings)
        except msgspec.ValidationError as error:
            raise Unusable(f"is set to a value that custom runtimes cannot have: {error}", field=label) from error
