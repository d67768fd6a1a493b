"""Every rule that one function's settings must keep (reference/api.md §2, §3.2; reference/runtime.md §11, §12).

Called by `control.functions` with the function as it would be stored.
Never looks at its code, and never changes a value.
"""

import re

import msgspec

from sesame.control import checks
from sesame.model import limits
from sesame.model.errors import InvalidArgument
from sesame.model.function import Function, LifecycleHook
from sesame.model.layer import parse_layer_arn

LAYERS_MAX = 5
_INSTANCE_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}\Z")


def check_function(function: Function) -> None:
    """Raises `InvalidArgument` for the first rule that is broken."""
    checks.one_of("Runtime", function.runtime, limits.RUNTIMES)
    _check_callables(function)
    checks.description(function.description)
    checks.between("Timeout", function.timeout, limits.TIMEOUT_S_MIN, limits.TIMEOUT_S_MAX)
    checks.between(
        "InitializationTimeout",
        function.initialization_timeout,
        limits.INITIALIZATION_TIMEOUT_S_MIN,
        limits.INITIALIZATION_TIMEOUT_S_MAX,
    )
    _check_environment(function.environment_variables)
    _check_resources(function)
    _check_concurrency(function)
    _check_layers(function.layers)
    _check_kept_settings(function)


def _check_callables(function: Function) -> None:
    # A handler without a dot is stored: the cloud says `Invalid handler` at the call (reference/runtime.md §6.2).
    if not function.handler:
        raise InvalidArgument.missing("Handler")
    checks.length("Handler", function.handler, limits.HANDLER_CHARS)
    checks.length("Initializer", function.initializer, limits.HANDLER_CHARS)
    hooks = function.instance_lifecycle_config
    if hooks is not None:
        _check_hook("InstanceLifecycleConfig.PreFreeze", hooks.pre_freeze)
        _check_hook("InstanceLifecycleConfig.PreStop", hooks.pre_stop)


def _check_hook(label: str, hook: LifecycleHook | None) -> None:
    if hook is not None:
        checks.length(f"{label}.Handler", hook.handler, limits.HANDLER_CHARS)
        checks.between(f"{label}.Timeout", hook.timeout, 1, limits.LIFECYCLE_HOOK_TIMEOUT_S_MAX)


def _check_environment(variables: dict[str, str]) -> None:
    for name, value in variables.items():
        if not limits.ENVIRONMENT_NAME.match(name):
            raise InvalidArgument.of(
                "EnvironmentVariables", "names of letters, digits and '_' that begin with a letter", checks.shown(name)
            )
        if name.startswith(limits.RESERVED_ENVIRONMENT_PREFIX) or name in limits.RESERVED_ENVIRONMENT_NAMES:
            reserved = ", ".join(sorted(limits.RESERVED_ENVIRONMENT_NAMES))
            raise InvalidArgument.of(
                "EnvironmentVariables",
                f"names other than {reserved} and those that begin with {limits.RESERVED_ENVIRONMENT_PREFIX}",
                name,
            )
        if "\0" in value:
            raise InvalidArgument.of(
                "EnvironmentVariables", f"text without NUL characters in '{name}'", "a NUL character"
            )
    total = sum(len(name.encode()) + len(value.encode()) for name, value in variables.items())
    if total > limits.ENVIRONMENT_TOTAL_BYTES:
        raise InvalidArgument.of(
            "EnvironmentVariables", f"at most {limits.ENVIRONMENT_TOTAL_BYTES} bytes in all", f"{total} bytes"
        )


def _check_resources(function: Function) -> None:
    memory = function.memory_size
    if not limits.MEMORY_MB_MIN <= memory <= limits.MEMORY_MB_MAX or memory % limits.MEMORY_MB_STEP:
        allowed = f"{limits.MEMORY_MB_MIN} to {limits.MEMORY_MB_MAX} in steps of {limits.MEMORY_MB_STEP}"
        raise InvalidArgument.of("MemorySize", allowed, memory)
    checks.one_of("DiskSize", function.disk_size, limits.DISK_MB_CHOICES)
    if not _INSTANCE_TYPE.match(function.instance_type):
        raise InvalidArgument.of("InstanceType", "e1 | c1 | g1", checks.shown(function.instance_type))
    if function.ca_port is not None:
        checks.between("CAPort", function.ca_port, limits.PORT_MIN, limits.PORT_MAX)
    if function.gpu_memory_size is not None:
        checks.between("GpuMemorySize", function.gpu_memory_size, 0, 1024 * 1024)
    if function.cpu is not None:
        steps = function.cpu / limits.CPU_STEP
        if not limits.CPU_MIN <= function.cpu <= limits.CPU_MAX or abs(steps - round(steps)) > 1e-6:
            allowed = f"{limits.CPU_MIN} to {limits.CPU_MAX} in steps of {limits.CPU_STEP}"
            raise InvalidArgument.of("CPU", allowed, function.cpu)


def _check_concurrency(function: Function) -> None:
    low, high = limits.INSTANCE_CONCURRENCY_MIN, limits.INSTANCE_CONCURRENCY_MAX
    checks.between("InstanceConcurrency", function.instance_concurrency, low, high)
    if function.instance_soft_concurrency is not None:
        checks.between(
            "InstanceSoftConcurrency", function.instance_soft_concurrency, low, function.instance_concurrency
        )


def _check_layers(layers: tuple[str, ...]) -> None:
    if len(layers) > LAYERS_MAX:
        raise InvalidArgument.of("Layers", f"at most {LAYERS_MAX} layers", f"{len(layers)} layers")
    for arn in layers:
        checks.length("Layers", arn, limits.LAYER_ARN_CHARS)
        if parse_layer_arn(arn) is None:
            allowed = "acs:fc:{region}:{account}:layers/{layer}/versions/{version}"
            raise InvalidArgument.of("Layers", allowed, checks.shown(arn))
    if len(set(layers)) != len(layers):
        raise InvalidArgument.of("Layers", "every layer once", ", ".join(layers))


def _check_kept_settings(function: Function) -> None:
    for label, settings in (
        ("CustomContainerConfig", function.custom_container_config),
        ("CustomRuntimeConfig", function.custom_runtime_config),
        ("CustomHealthCheckConfig", function.custom_health_check_config),
        ("CustomDNS", function.custom_dns),
    ):
        size = len(msgspec.json.encode(settings))
        if size > limits.KEPT_SETTINGS_BYTES:
            raise InvalidArgument.of(label, f"at most {limits.KEPT_SETTINGS_BYTES} bytes of JSON", f"{size} bytes")
