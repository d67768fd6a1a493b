"""The rules for the settings of a function (reference/api.md §2, §3.2; reference/runtime.md §11, §12).

Called by `control.functions` with the function as it would be stored.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from sesame.control import checks, rules
from sesame.control.rules import Rule
from sesame.model import container, limits
from sesame.model.conversion import converted, reworded
from sesame.model.errors import Invalid, Missing
from sesame.model.function import Function, InstanceLifecycleConfig, LifecycleHook
from sesame.model.later_settings import WITHHELD
from sesame.model.layer import LAYER_FORMS, parse_layer_arn
from sesame.model.session_affinity import AFFINITIES, CONFIGS, ISOLATION_MODES, NONE
from sesame.model.web_server import Arguments, config_of, health_check_of, is_custom

LAYERS_MAX = 5
_INSTANCE_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}\Z")
_KEPT_SETTINGS = (
    "custom_container_config", "custom_runtime_config", "custom_health_check_config", "custom_dns",
    "later.juice_fs_config", "later.polar_fs_config", "later.micro_sandbox_config",
)  # fmt: skip


def check_function(function: Function, former: Function | None = None) -> None:
    """Raises `Rejected` for the first violated rule; for a changed function, only of what differs from `former`."""
    rules.apply(RULES, function, former)


def _check_handler(handler: str) -> None:
    # A handler without a dot is stored: the cloud reports `Invalid handler` at the call (reference/runtime.md §6.2).
    if not handler:
        raise Missing("handler")
    checks.length("handler", handler, limits.HANDLER_CHARS)


def _check_hooks(hooks: InstanceLifecycleConfig | None) -> None:
    if hooks is not None:
        _check_hook("instance_lifecycle_config.pre_freeze", hooks.pre_freeze)
        _check_hook("instance_lifecycle_config.pre_stop", hooks.pre_stop)


def _check_hook(label: str, hook: LifecycleHook | None) -> None:
    if hook is not None:
        checks.length(f"{label}.handler", hook.handler, limits.HANDLER_CHARS)
        checks.between(f"{label}.timeout", hook.timeout, 1, limits.LIFECYCLE_HOOK_TIMEOUT_S_MAX)


def _check_command(name: str, runtime: str, command: tuple[str, ...]) -> None:
    label = f"instance_lifecycle_config.{name}.command"
    if not command:
        return
    if not is_custom(runtime):
        raise Invalid(label, f"a handler, as a function of {runtime} has", checks.shown(command[0]))
    converted(list(command), Arguments, label)
    _require_program(label, command)


def _check_command_timeout(command: tuple[str, ...], timeout: int) -> None:
    if command:
        label = "instance_lifecycle_config.pre_stop.timeout"
        checks.between(label, timeout, 1, limits.LIFECYCLE_HOOK_TIMEOUT_S_MAX)


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


def _check_memory(memory: int) -> None:
    if not limits.MEMORY_MB_MIN <= memory <= limits.MEMORY_MB_MAX or memory % limits.MEMORY_MB_STEP:
        allowed = f"{limits.MEMORY_MB_MIN} to {limits.MEMORY_MB_MAX} in steps of {limits.MEMORY_MB_STEP}"
        raise Invalid("memory_size", allowed, memory)


def _check_instance_type(instance_type: str) -> None:
    if not _INSTANCE_TYPE.match(instance_type):
        raise Invalid("instance_type", "e1 | c1 | g1", checks.shown(instance_type))


def _check_cpu(cpu: float | None) -> None:
    if cpu is not None:
        steps = cpu / limits.CPU_STEP
        if not limits.CPU_MIN <= cpu <= limits.CPU_MAX or abs(steps - round(steps)) > 1e-6:
            allowed = f"{limits.CPU_MIN} to {limits.CPU_MAX} in steps of {limits.CPU_STEP}"
            raise Invalid("cpu", allowed, cpu)


def _check_soft_concurrency(soft: int | None, concurrency: int) -> None:
    if soft is not None:
        checks.between("instance_soft_concurrency", soft, limits.INSTANCE_CONCURRENCY_MIN, concurrency)


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


def _check_sessions(affinity: str, config: str) -> None:
    if affinity not in ("", NONE, *AFFINITIES):
        # Sessions of the Model Context Protocol are not supported.
        raise Invalid("session_affinity", " | ".join((NONE, *AFFINITIES)), checks.shown(affinity))
    if affinity in AFFINITIES:
        try:
            found = msgspec.json.decode(config or "{}")
        except msgspec.DecodeError as error:
            raise Invalid("session_affinity_config", "the JSON text of an object", checks.shown(config)) from error
        converted(found, CONFIGS[affinity], "session_affinity_config")


def _check_isolation(mode: str) -> None:
    if mode:
        checks.one_of("instance_isolation_mode", mode, ISOLATION_MODES)


def _check_withheld(where: str) -> None:
    if where:
        checks.one_of("disable_inject_credentials", where, WITHHELD)


def _check_container(runtime: str, settings: dict[str, Any] | None) -> None:
    if runtime == limits.IMAGE_RUNTIME:
        if not (settings or {}).get("image"):
            raise Missing("custom_container_config.image")
        _check_web_server("custom_container_config", container.config_of, container.kept_form(settings or {}))
        _require_program("custom_container_config.entrypoint", container.config_of(settings).entrypoint or ())


def _check_runtime_config(runtime: str, settings: dict[str, Any] | None) -> None:
    if is_custom(runtime) and runtime != limits.IMAGE_RUNTIME:
        _check_web_server("custom_runtime_config", config_of, settings)
        config = config_of(settings)
        _require_program("custom_runtime_config.command", (*(config.command or ()), *(config.args or ())))


def _require_program(label: str, words: Sequence[str]) -> None:
    if words and not words[0]:
        raise Invalid(label, "a program, and its arguments", words[0])


def _check_health_check(runtime: str, settings: dict[str, Any] | None) -> None:
    if is_custom(runtime):
        _check_web_server("custom_health_check_config", health_check_of, settings)


def _check_web_server(label: str, read: Callable[[Any], object], settings: Mapping[str, Any] | None) -> None:
    try:
        read(settings)
    except msgspec.ValidationError as error:
        raise reworded(error, settings or {}, label) from error


def _between(label: str, low: float, high: float) -> Rule:
    """A number in this range, or none."""

    def check(value: float | None) -> None:
        if value is not None:
            checks.between(label.rpartition(".")[2], value, low, high)

    return Rule((label,), check)


def _kept(field: str) -> Rule:
    return Rule((field,), partial(checks.kept, field.rpartition(".")[2]))


def _at_most(label: str, field: str, chars: int) -> Rule:
    return Rule((field,), lambda value: checks.length(label, value, chars))


RULES = (
    Rule(("runtime",), lambda runtime: checks.one_of("runtime", runtime, limits.RUNTIMES)),
    Rule(("handler",), _check_handler),
    _at_most("initializer", "initializer", limits.HANDLER_CHARS),
    Rule(("instance_lifecycle_config",), _check_hooks),
    _at_most("description", "description", limits.DESCRIPTION_CHARS),
    _between("timeout", limits.TIMEOUT_S_MIN, limits.TIMEOUT_S_MAX),
    _between("initialization_timeout", limits.INITIALIZATION_TIMEOUT_S_MIN, limits.INITIALIZATION_TIMEOUT_S_MAX),
    Rule(("environment_variables",), _check_environment),
    Rule(("memory_size",), _check_memory),
    Rule(("disk_size",), lambda size: checks.one_of("disk_size", size, limits.DISK_MB_CHOICES)),
    Rule(("instance_type",), _check_instance_type),
    _between("ca_port", limits.PORT_MIN, limits.PORT_MAX),
    _between("gpu_memory_size", 0, 1024 * 1024),
    Rule(("cpu",), _check_cpu),
    _between("instance_concurrency", limits.INSTANCE_CONCURRENCY_MIN, limits.INSTANCE_CONCURRENCY_MAX),
    Rule(("instance_soft_concurrency", "instance_concurrency"), _check_soft_concurrency),
    Rule(("layers",), _check_layers),
    *map(_kept, _KEPT_SETTINGS),
    Rule(("later.session_affinity", "later.session_affinity_config"), _check_sessions),
    _between("later.idle_timeout", 0, limits.IDLE_TIMEOUT_S_MAX),
    Rule(("later.instance_isolation_mode",), _check_isolation),
    Rule(("later.disable_inject_credentials",), _check_withheld),
    _at_most("gpu_config.gpu_type", "later.gpu_type", limits.HANDLER_CHARS),
    Rule(("runtime", "custom_container_config"), _check_container),
    Rule(("runtime", "custom_runtime_config"), _check_runtime_config),
    Rule(("runtime", "custom_health_check_config"), _check_health_check),
    Rule(("runtime", "later.initializer_command"), partial(_check_command, "initializer")),
    Rule(("runtime", "later.pre_stop_command"), partial(_check_command, "pre_stop")),
    Rule(("later.pre_stop_command", "later.pre_stop_timeout"), _check_command_timeout),
)
