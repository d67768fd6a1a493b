"""Values that were stored before they were checked: they stay while others change, and are refused where they change.

Run by pytest. Writes records as an earlier version may have, past `control`.
"""

from typing import Any

import msgspec
import pytest
from tests.control.conftest import ARNS, Account, hello
from tests.support.refusals import refused
from tests.support.requesters import THE_ACCOUNT

from sesame.control.async_configs import AsyncConfigs
from sesame.control.inputs import (
    AliasInput,
    AsyncConfigInput,
    FunctionInput,
    ProvisionInput,
    ServiceInput,
    TriggerInput,
)
from sesame.control.provision_configs import ProvisionConfigs
from sesame.control.scaling_configs import ScalingConfigs
from sesame.control.whole_functions import WholeFunctions
from sesame.model import limits, records
from sesame.model.bucket import Bucket
from sesame.model.configs import (
    AsyncConfig,
    Destination,
    DestinationConfig,
    ProvisionConfig,
    ScalingConfig,
    ScheduledAction,
    async_config_name,
    provision_config_name,
)
from sesame.model.function import InstanceLifecycleConfig, LifecycleHook
from sesame.model.later_settings import LaterSettings
from sesame.model.service import LogConfig, NasConfig, NasMountPoint, OssMountConfig, OssMountPoint, TracingConfig
from sesame.model.trigger import Trigger
from sesame.store.catalog import Transaction

LONG, LONGER = "x" * 300, "x" * 301
BIG, BIGGER = ({"a": "x" * (limits.KEPT_SETTINGS_BYTES + size)} for size in range(2))
HOOKS = InstanceLifecycleConfig(pre_stop=LifecycleHook(LONG, 0))
# By field: a value as wrong as an earlier version may have stored, and another one.
SERVICE: dict[str, tuple[Any, Any]] = {
    "description": (LONG, LONGER),
    "log_config": (LogConfig(project="p"), LogConfig(project="q")),
    "nas_config": (NasConfig(mount_points=(NasMountPoint("nowhere", "/etc"),)), NasConfig(user_id=-7)),
    "oss_mount_config": (OssMountConfig((OssMountPoint("UPPER"),)), OssMountConfig((OssMountPoint("LOUDER"),))),
    "tracing_config": (TracingConfig("Zipkin", {}), TracingConfig("Other", {})),
}
FUNCTION: dict[str, tuple[Any, Any]] = {
    "handler": (LONG, LONGER),
    "initializer": (LONG, LONGER),
    "description": (LONG, LONGER),
    "timeout": (0, -1),
    "initialization_timeout": (0, -1),
    "memory_size": (100, 101),
    "environment_variables": ({"1": "2"}, {"1": "3"}),
    "instance_concurrency": (0, -1),
    "instance_soft_concurrency": (5000, 5001),
    "instance_type": ("-", "--"),
    "instance_lifecycle_config": (HOOKS, InstanceLifecycleConfig(pre_stop=LifecycleHook(LONGER, 0))),
    "layers": (("nothing",), ("nothing", "else")),
    "ca_port": (0, -1),
    "custom_container_config": (BIG, BIGGER),
    "custom_runtime_config": ({"port": "x"}, {"port": "y"}),
    "custom_health_check_config": ({"httpGetUrl": 1}, {"httpGetUrl": 2}),
    "custom_dns": (BIG, BIGGER),
    "gpu_memory_size": (-1, -2),
    "cpu": (0.001, 0.002),
    "disk_size": (7, 8),
}
LATER: dict[str, tuple[Any, Any]] = {
    "initializer_command": (("",), ("", "a")),
    "pre_stop_command": (("",), ("", "a")),
    "pre_stop_timeout": (0, -1),
    "session_affinity": ("MCP", "MCQ"),
    "session_affinity_config": ("{", "{{"),
    "instance_isolation_mode": ("NONE", "ALL"),
    "idle_timeout": (-1, -2),
    "disable_inject_credentials": ("Some", "Any"),
    "gpu_type": (LONG, LONGER),
    "juice_fs_config": (BIG, BIGGER),
}
CONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # Wrong, a change of something else, and a change that is as wrong.
    "oss": ({"events": "none", "enable": True}, {"enable": False}, {"events": ["oss:Nothing"]}),
    "log": ({"jobConfig": {"maxRetryTime": -1}}, {"enable": False}, {"jobConfig": {"maxRetryTime": -2}}),
    "timer": ({"cronExpression": "now", "payload": "a"}, {"payload": "b"}, {"cronExpression": "then"}),
    "http": ({"authType": 5, "methods": ["GET"], "corsConfig": 7}, {"methods": ["PUT"]}, {"corsConfig": 8}),
    "mns_topic": ({"notifyStrategy": "NEVER"}, {"filterTag": "t"}, {"notifyStrategy": "EVER"}),
}


async def stored(account: Account, kind: str, path: tuple[str, str], **values: Any) -> None:
    """Writes these values into a record, past the checks."""

    def edit(tx: Transaction) -> None:
        record = tx.get(kind, *path)
        assert record is not None
        tx.put(kind, *path, msgspec.structs.replace(record.document, **values))

    await account.catalog.edit(edit)


@pytest.fixture(autouse=True)
async def function(account: Account) -> None:
    await account.catalog.edit(lambda tx: tx.put(records.BUCKET, "", "bucket", Bucket("bucket", "123")))
    await account.service("s")
    await account.functions.create("s", hello(), by=THE_ACCOUNT)


async def test_a_service(account: Account) -> None:
    await stored(account, records.SERVICE, ("", "s"), **{field: wrong for field, (wrong, _other) in SERVICE.items()})
    await account.services.update("s", ServiceInput(internet_access=False), by=THE_ACCOUNT)
    for field, (wrong, other) in SERVICE.items():
        sent: dict[str, Any] = {field: wrong}
        # Tools send all that they have read.
        await account.services.update("s", ServiceInput(**sent), by=THE_ACCOUNT)
        with refused("InvalidArgument"):
            await account.services.update("s", ServiceInput(**{**sent, field: other}), by=THE_ACCOUNT)


async def test_a_function(account: Account) -> None:
    later = LaterSettings(**{field: wrong for field, (wrong, _other) in LATER.items()})
    wrong_ones = {field: wrong for field, (wrong, _other) in FUNCTION.items()}
    await stored(account, records.FUNCTION, ("s", "f"), runtime="custom", later=later, **wrong_ones)
    plain = FunctionInput(later={"disable_ondemand": True}, **wrong_ones)
    kept = (await account.functions.update("s", "f", plain, by=THE_ACCOUNT)).document
    assert (kept.later.gpu_type, kept.later.disable_ondemand, kept.cpu) == (LONG, True, 0.001)
    for sent in [{field: other} for field, (_wrong, other) in FUNCTION.items()] + [
        {"later": {field: other}} for field, (_wrong, other) in LATER.items()
    ]:
        with refused("InvalidArgument"):
            await account.functions.update("s", "f", FunctionInput(**sent), by=THE_ACCOUNT)


async def test_what_depends_on_a_change_is_checked_with_it(account: Account) -> None:
    await stored(account, records.FUNCTION, ("s", "f"), custom_runtime_config={"port": "x"})
    with refused("InvalidArgument", match="CustomRuntimeConfig"):
        await account.functions.update("s", "f", FunctionInput(runtime="custom"), by=THE_ACCOUNT)
    await stored(account, records.FUNCTION, ("s", "f"), instance_concurrency=20, instance_soft_concurrency=10)
    with refused("InvalidArgument", match="InstanceSoftConcurrency"):
        await account.functions.update("s", "f", FunctionInput(instance_concurrency=5), by=THE_ACCOUNT)


async def test_a_function_without_a_service(account: Account) -> None:
    whole = WholeFunctions(account.catalog, account.functions, account.services)
    await whole.create(hello(function_name="alone"), ServiceInput(), {}, by=THE_ACCOUNT)
    owner = "$alone"
    await stored(account, records.SERVICE, ("", owner), log_config=LogConfig(project="p"))
    await stored(account, records.FUNCTION, (owner, "alone"), cpu=0.001)
    sent = FunctionInput(timeout=7)
    changed = await whole.update(owner, "alone", sent, ServiceInput(internet_access=False), by=THE_ACCOUNT)
    assert (changed.function.document.timeout, changed.owner.document.internet_access) == (7, False)


@pytest.mark.parametrize("kind", CONFIGS)
async def test_a_trigger(account: Account, kind: str) -> None:
    wrong, plain, other = CONFIGS[kind]
    source = "acs:oss:cn-hangzhou:123:bucket"
    trigger = Trigger("t", "1", kind, wrong, source, "nobody", LONG, "gone")

    def edit(tx: Transaction) -> None:
        for name in ("t", "beside"):
            tx.put(records.TRIGGER, "s/f", name, msgspec.structs.replace(trigger, trigger_name=name))

    await account.catalog.edit(edit)
    sent = TriggerInput(trigger_name="t", trigger_config=plain)
    changed = (await account.triggers.update("s", "f", sent, by=THE_ACCOUNT)).document
    assert changed.trigger_config == wrong | plain
    refusals: list[dict[str, Any]] = [
        {"trigger_config": other}, {"invocation_role": "somebody"}, {"description": LONGER},
    ]  # fmt: skip
    for each in refusals:
        with refused("InvalidArgument"):
            await account.triggers.update("s", "f", TriggerInput(trigger_name="t", **each), by=THE_ACCOUNT)
    with refused("AliasNotFound"):
        await account.triggers.update("s", "f", TriggerInput(trigger_name="t", qualifier="lost"), by=THE_ACCOUNT)


async def test_an_alias(account: Account) -> None:
    await account.publish()
    await account.alias("a", "1")
    weights = {"7": 0.9, "8": 0.9}
    await stored(account, records.ALIAS, ("s", "a"), description=LONG, additional_version_weight=weights)
    await account.aliases.update("s", "a", AliasInput(resolve_policy="Random"))
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("InvalidArgument", {"description": LONGER}),
        ("InvalidArgument", {"additional_version_weight": {"7": 2}}),
        ("VersionNotFound", {"additional_version_weight": {"9": 0.1}}),
    ]
    for code, sent in wrong:
        with refused(code):
            await account.aliases.update("s", "a", AliasInput(**sent))


async def test_settings_of_asynchronous_and_of_provisioned_instances(account: Account) -> None:
    bad = DestinationConfig(Destination("nowhere"))
    action = ScheduledAction("a", "never", "always", 1, "now")
    policies = ({"name": 5},)
    name = provision_config_name("f", "LATEST")
    config = AsyncConfig("s", "f", "LATEST", bad, 0, 1000)
    provision = ProvisionConfig("s", "f", "LATEST", -1, (action,))
    scaling = ScalingConfig(service="s", function="f", qualifier="LATEST", horizontal_scaling_policies=policies)

    def edit(tx: Transaction) -> None:
        tx.put(records.ASYNC_CONFIG, "s", async_config_name("f", "LATEST"), config)
        tx.put(records.PROVISION_CONFIG, "s", name, provision)
        tx.put(records.SCALING_CONFIG, "s", name, scaling)

    await account.catalog.edit(edit)
    asynchronous, provisioned = AsyncConfigs(account.catalog, ARNS), ProvisionConfigs(account.catalog)
    sent = AsyncConfigInput(
        destination_config=bad, max_async_event_age_in_seconds=0, max_async_retry_attempts=3, stateful_invocation=True
    )
    await asynchronous.put("s", "f", "", sent)
    for changes in ({"max_async_retry_attempts": 1001}, {"max_async_event_age_in_seconds": -1}):
        with refused("InvalidArgument"):
            await asynchronous.put("s", "f", "", msgspec.structs.replace(sent, **changes))
    await provisioned.put(("s", "f", ""), ProvisionInput(target=1))
    with refused("InvalidArgument"):
        await provisioned.put(("s", "f", ""), ProvisionInput(target=1, scheduled_actions=(action, action)))
    scaled = ScalingConfigs(account.catalog)
    await scaled.put(msgspec.structs.replace(scaling, min_instances=1))
    with refused("InvalidArgument"):
        await scaled.put(msgspec.structs.replace(scaling, horizontal_scaling_policies=({"name": 6},)))
