"""What a function finds in its environment and the shim in its setup (reference/runtime.md §11).

Run by pytest.
Never starts a process.
"""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.conftest import Engine, build

from sesame.engine import environment
from sesame.model import limits, records
from sesame.model.function import InstanceLifecycleConfig, LifecycleHook
from sesame.model.invocation import Credentials, Invocation, Target
from sesame.model.later_settings import LaterSettings
from sesame.model.service import LogConfig, OssMountConfig, OssMountPoint, Service, TracingConfig
from sesame.model.snapshot import Snapshot
from sesame.model.span_context import from_jaeger


def resolved(engine: Engine) -> Snapshot:
    return engine.resolver.resolve(Target("s", limits.LATEST, "f"))


def composed(engine: Engine) -> dict[str, str]:
    return environment.compose(resolved(engine), "c-1", "123", "cn-shanghai")


def test_old_and_new_names_of_variables_are_set(engine: Engine) -> None:
    assert composed(engine) == {
        "FC_ACCOUNT_ID": "123",
        "FC_CUSTOM_LISTEN_PORT": "9000",
        "FC_FUNCTION_HANDLER": "index.handler",
        "FC_FUNCTION_MEMORY_SIZE": "128",
        "FC_FUNCTION_NAME": "f",
        "FC_FUNC_CODE_PATH": "/code/",
        "FC_FUNC_LOG_PATH": "/var/log/fc/",
        "FC_INSTANCE_ID": "c-1",
        "FC_QUALIFIER": "LATEST",
        "FC_REGION": "cn-shanghai",
        "FC_RUNTIME_VERSION": "python3.10",
        "FC_SERVER_CAM_PORT": "10080",
        "FC_SERVER_LOG_LEVEL": "INFO",
        "FC_SERVER_LOG_PATH": "",
        "FC_SERVER_PATH": "/var/fc/runtime/python3.10",
        "FC_SERVER_PORT": "9000",
        "FC_SERVICE_NAME": "s",
        "FC_VER_ID": "LATEST",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "LD_LIBRARY_PATH": "/code/:/code//lib:/opt/lib:/usr/local/lib",
        "PATH": "/opt/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PWD": "/code",
        "SHLVL": "0",
        "TERM": "xterm",
        "TZ": "UTC",
        "topic": "FCLogs:f",
    }


def test_newer_runtimes_call_the_version_by_another_name_too(engine: Engine) -> None:
    assert "FC_FUNCTION_VERSION" not in composed(engine)
    engine.deploy(runtime="python3.12")
    assert composed(engine)["FC_FUNCTION_VERSION"] == composed(engine)["FC_VER_ID"] == "LATEST"


@given(
    own=st.dictionaries(
        st.sampled_from(["TZ", "LANG", "HOME", "PYTHONPATH", "MINE", "FC_REGION", "FC_INSTANCE_ID", "topic"]),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    )
)
def test_a_functions_variables_win_but_for_the_reserved_names(own: dict[str, str]) -> None:
    engine = build()
    engine.deploy()
    plain = composed(engine)
    engine.deploy(environment_variables=own)
    found = composed(engine)
    for name, value in found.items():
        reserved = name.startswith(limits.RESERVED_ENVIRONMENT_PREFIX) or name in limits.RESERVED_ENVIRONMENT_NAMES
        assert value == (plain[name] if reserved else own.get(name, plain.get(name)))
    assert found.keys() == plain.keys() | own.keys()


def test_the_environment_holds_no_credentials_because_they_change_between_calls(engine: Engine) -> None:
    assert not {name for name in composed(engine) if "key" in name.lower() or "token" in name.lower()}


@pytest.mark.parametrize("hook", ["", "index.hook"])
def test_the_setup_is_the_part_of_the_context_that_stays(engine: Engine, hook: str) -> None:
    logs = LogConfig(project="p", logstore="l")
    engine.catalog.put(records.SERVICE, "", "s", Service(service_name="s", service_id="id", log_config=logs))
    hooks = InstanceLifecycleConfig(LifecycleHook(hook, 3), LifecycleHook(hook, 3)) if hook else None
    engine.deploy(initializer="index.init", initialization_timeout=7, timeout=9, instance_lifecycle_config=hooks)
    assert environment.setup(resolved(engine), "123", "cn-shanghai") == {
        "account_id": "123",
        "region": "cn-shanghai",
        "alone": False,
        "service": {"name": "s", "log_project": "p", "log_store": "l"},
        "function": {
            "name": "f", "handler": "index.handler", "memory": 128, "timeout": 9,
            "initializer": "index.init", "initialization_timeout": 7,
        },
        "pre_freeze": hook,
        "pre_stop": hook,
        "notice": "",
    }  # fmt: skip


def told(engine: Engine, tracing: dict[str, object] | None) -> Any:
    invocation = Invocation("r", Target("s", limits.LATEST, "f"), b"", tracing=tracing)
    return environment.call_meta(invocation, resolved(engine), Credentials())["tracing"]


@pytest.mark.parametrize(
    ("withheld", "in_requests", "in_environment"),
    [("", "id", None), ("None", "id", None), ("Env", "id", ""), ("Request", "", "id"), ("All", "", None)],
)
def test_keys_are_withheld_where_the_function_says(
    engine: Engine, withheld: str, in_requests: str, in_environment: str | None
) -> None:
    """None: as in requests."""
    engine.deploy(later=LaterSettings(disable_inject_credentials=withheld))
    invocation = Invocation("r", Target("s", limits.LATEST, "f"), b"")
    meta = environment.call_meta(invocation, resolved(engine), Credentials("id", "secret", "token"))
    assert meta["credentials"]["access_key_id"] == in_requests
    assert meta.get("environment_credentials", {}).get("access_key_id") == in_environment


@pytest.mark.parametrize("withheld", ["", "Env", "Request", "All"])
async def test_mounted_buckets_get_keys_also_where_the_function_gets_none(engine: Engine, withheld: str) -> None:
    mounts = OssMountConfig((OssMountPoint(bucket_name="b", bucket_path="/", mount_dir="/mnt/b"),))
    engine.catalog.put(records.SERVICE, "", "s", Service(service_name="s", service_id="id", oss_mount_config=mounts))
    engine.deploy(later=LaterSettings(disable_inject_credentials=withheld))
    await engine.call()
    (sandbox,) = engine.driver.made
    assert {call.keys for call in sandbox.calls} == {Credentials("id", "secret", "token")}


def test_without_tracing_of_the_service_the_callers_trace_is_passed_on(engine: Engine) -> None:
    assert told(engine, None) is None
    assert told(engine, {"span_context": "c"}) == {"span_context": "c"}


def test_with_tracing_of_the_service_functions_are_told_of_jaeger_and_begin_a_trace_where_their_caller_has_none() -> (
    None
):
    engine = build()
    jaeger = TracingConfig(type="Jaeger", params={"endpoint": "http://jaeger:14268"})
    engine.catalog.put(records.SERVICE, "", "s", Service(service_name="s", service_id="id", tracing_config=jaeger))
    engine.deploy()
    passed_on = told(engine, {"span_context": "c", "span_baggages": {"k": "v"}})
    assert passed_on == {"span_context": "c", "span_baggages": {"k": "v"}, "jaeger_endpoint": "http://jaeger:14268"}
    begun = told(engine, None)
    assert from_jaeger(begun["span_context"]) is not None
    assert (begun["span_baggages"], begun["jaeger_endpoint"]) == ({}, "http://jaeger:14268")
    assert told(engine, None)["span_context"] != begun["span_context"]


def test_a_function_without_a_service_is_told_of_none(engine: Engine) -> None:
    snapshot = msgspec.structs.replace(resolved(engine), service="$f")
    assert "FC_SERVICE_NAME" not in environment.compose(snapshot, "c-1", "123", "cn-shanghai")
    told_alone: Any = environment.setup(snapshot, "123", "cn-shanghai")
    assert (told_alone["alone"], told_alone["service"]["name"]) == (True, "")
    assert environment.setup(resolved(engine), "123", "cn-shanghai")["alone"] is False
