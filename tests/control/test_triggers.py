"""Triggers as reference/api.md §3.5 says.

Run by pytest.
Goes through no endpoint: input and answers are structs.
"""

from typing import Any

import msgspec
import pytest
from tests.control.conftest import Account, hello
from tests.support.refusals import refused
from tests.support.requesters import THE_ACCOUNT, FakeRequester

from sesame.control.inputs import Listing, TriggerInput
from sesame.model import limits, records
from sesame.model.bucket import Bucket
from sesame.model.errors import Forbidden
from sesame.model.tick_json import tick_json
from sesame.model.trigger import Trigger

OSS = {"events": ["oss:ObjectCreated:*"], "filter": {"key": {"prefix": "pre", "suffix": "suf"}}}
LOG = {
    "sourceConfig": {"logstore": "store_source"},
    "jobConfig": {"triggerInterval": 60, "maxRetryTime": 10},
    "functionParameter": {},
    "logConfig": {"project": "project", "logstore": "store"},
    "enable": False,
}
TIMER = {"cronExpression": "@every 5m", "payload": "awesome-fc", "enable": True}
HTTP = {"authType": "anonymous", "methods": ["GET", "POST", "PUT"]}
CDN = {"eventName": "LogFileCreated", "eventVersion": "1.0.0", "notes": "n", "filter": {"domain": ["d"], "s": ["x"]}}
MNS = {"filterTag": "t", "notifyContentFormat": "STREAM", "notifyStrategy": "BACKOFF_RETRY"}
RDS = {"subscriptionObjects": ["db.table"], "retry": 3, "concurrency": 1, "eventFormat": "protobuf"}
EVENTBRIDGE = {
    "triggerEnable": True,
    "asyncInvocationType": False,
    "eventRuleFilterPattern": "{}",
    "eventSourceConfig": {
        "eventSourceType": "MNS",
        "eventSourceParameters": {"sourceMNSParameters": {"QueueName": "q"}},
    },
}
ALL: dict[str, Any] = {
    "oss": OSS, "log": LOG, "timer": TIMER, "http": HTTP, "cdn_events": CDN, "mns_topic": MNS, "tablestore": {},
    "rds": RDS, "eventbridge": EVENTBRIDGE,
}  # fmt: skip
ROLE = "acs:ram::123:role/Name-1"
SOURCE = "acs:oss:cn-hangzhou:123:bucket"
PROJECT = "acs:log:cn-hangzhou:123:project/p"


@pytest.fixture(autouse=True)
async def function(account: Account) -> None:
    await account.catalog.edit(lambda tx: tx.put(records.BUCKET, "", "bucket", Bucket("bucket", "123")))
    await account.service("s")
    await account.functions.create("s", hello(), by=THE_ACCOUNT)


async def create(account: Account, kind: str, config: Any = None, **values: Any) -> Trigger:
    sent = TriggerInput(
        **{
            "trigger_name": "t",
            "trigger_type": kind,
            "trigger_config": ALL[kind] if config is None else config,
            "source_arn": PROJECT if kind == "log" else SOURCE,
        }
        | values
    )
    trigger: Trigger = (await account.triggers.create("s", "f", sent, by=THE_ACCOUNT)).document
    return trigger


async def update(account: Account, config: dict[str, Any] | None = None, **values: Any) -> Trigger:
    if config is not None:
        values["trigger_config"] = config
    record = await account.triggers.update("s", "f", TriggerInput(trigger_name="t", **values), by=THE_ACCOUNT)
    trigger: Trigger = record.document
    return trigger


@pytest.mark.parametrize("trigger_type", ALL)
async def test_a_configuration_comes_back_exactly_as_sent(account: Account, trigger_type: str) -> None:
    trigger = await create(account, trigger_type, invocation_role=ROLE, description="d")
    assert trigger.trigger_config == ALL[trigger_type]
    assert (trigger.trigger_type, trigger.invocation_role, trigger.description) == (trigger_type, ROLE, "d")
    assert (await account.triggers.get("s", "f", "t")).document == trigger


async def test_the_source_of_http_is_null_and_of_eventbridge_is_made(account: Account) -> None:
    assert (await create(account, "http")).source_arn is None
    assert (await create(account, "oss", trigger_name="o")).source_arn == SOURCE
    made = await create(account, "eventbridge", trigger_name="e", source_arn="")
    assert made.source_arn == "acs:eventbridge:cn-hangzhou:123:eventbus/MNS-f-e/rule/s-f-e"
    default = EVENTBRIDGE | {"eventSourceConfig": {"eventSourceType": "Default"}}
    made = await create(account, "eventbridge", default, trigger_name="d")
    assert made.source_arn == "acs:eventbridge:cn-hangzhou:123:eventbus/default/rule/s-f-d"


async def test_an_update_replaces_the_parts_that_it_names(account: Account) -> None:
    await create(account, "log")
    merged = await update(account, {"jobConfig": {"maxRetryTime": 0, "triggerInterval": 80}})
    assert merged.trigger_config == LOG | {"jobConfig": {"maxRetryTime": 0, "triggerInterval": 80}}
    await account.triggers.delete("s", "f", "t")
    await create(account, "cdn_events")
    merged = await update(account, {"notes": "new", "filter": {"a": ["b"]}})
    assert merged.trigger_config == CDN | {"notes": "new", "filter": {"a": ["b"]}}
    await account.triggers.delete("s", "f", "t")
    await create(account, "oss")
    removed = ["oss:ObjectRemoved:*"]
    assert (await update(account, {"events": removed, "filter": None})).trigger_config == OSS | {"events": removed}
    changed = await update(account, invocation_role=ROLE, description="")
    assert (changed.invocation_role, changed.description) == (ROLE, "")


async def test_keys_are_spelled_as_the_api_does_and_null_is_dropped(account: Account) -> None:
    sent = {"Events": ["oss:ObjectCreated:*"], "FILTER": {"Key": {"Prefix": "p", "suffix": None}}, "own": {"Key": 1}}
    trigger = await create(account, "oss", sent)
    assert trigger.trigger_config == {
        "events": ["oss:ObjectCreated:*"], "filter": {"key": {"prefix": "p"}}, "own": {"Key": 1},
    }  # fmt: skip
    trigger = await create(account, "cdn_events", CDN | {"filter": {"Domain": ["x"]}}, trigger_name="c")
    assert trigger.trigger_config["filter"] == {"Domain": ["x"]}


@pytest.mark.parametrize(
    ("trigger_type", "config", "message"),
    [
        ("oss", {}, "TriggerConfig.Events is required"),
        ("oss", OSS | {"events": ["cdn:x"]}, "TriggerConfig.Events"),
        (
            "oss",
            OSS | {"events": "oss:x"},
            r"TriggerConfig.Events is set to an invalid value \(allowed: array, actual: '\"oss:x\"'\)",
        ),
        ("log", LOG | {"sourceConfig": {}}, "TriggerConfig.SourceConfig.Logstore is required"),
        ("log", LOG | {"jobConfig": {"triggerInterval": 0}}, "TriggerInterval"),
        ("log", LOG | {"jobConfig": {"maxRetryTime": -1}}, "MaxRetryTime"),
        ("timer", {}, "TriggerConfig.CronExpression is required"),
        ("timer", {"cronExpression": "* * *"}, "TriggerConfig.CronExpression"),
        ("timer", {"cronExpression": "CRON_TZ=Mars/Base 0 0 4 * * *"}, "allowed: a time zone that exists"),
        ("timer", {"cronExpression": "0 0 0 LW 2 */7"}, "allowed: a time that comes within 50 years"),
        ("timer", {"cronExpression": "0 0 0 31 2 ?"}, "TriggerConfig.CronExpression"),
        ("timer", TIMER | {"payload": "x" * 131_072}, "TriggerConfig.Payload"),
        ("timer", TIMER | {"payload": '"' * 65_536}, "allowed: a payload that makes events of at most 131072 bytes"),
        ("timer", TIMER | {"enable": "yes"}, "TriggerConfig.Enable is set to an invalid value .allowed: boolean"),
        ("http", {}, "TriggerConfig.AuthType is required"),
        ("http", {"authType": "anonymous"}, "TriggerConfig.Methods is required"),
        ("http", {"authType": "open", "methods": ["GET"]}, "TriggerConfig.AuthType"),
        ("http", {"authType": "anonymous", "methods": ["get"]}, "TriggerConfig.Methods"),
        ("cdn_events", {"eventVersion": "1"}, "TriggerConfig.EventName is required"),
        ("cdn_events", {"eventName": "n"}, "TriggerConfig.EventVersion is required"),
        ("mns_topic", {"notifyContentFormat": "XML"}, r"NotifyContentFormat .*STREAM \| JSON, "),
        ("cdn_events", CDN | {"filter": {"Domain": ["x" * 2**16]}}, "at most 65536 bytes of JSON"),
        ("eventbridge", {}, "EventSourceConfig.EventSourceType is required"),
        *(
            (
                "eventbridge",
                {"eventSourceConfig": {"eventSourceType": kind}},
                "EventSourceType is set to an invalid value",
            )
            for kind in ("a/b", "a:b", "a b", "x" * 129)
        ),
    ],
)
async def test_bad_configurations_are_refused(
    account: Account, trigger_type: str, config: dict[str, Any], message: str
) -> None:
    with refused("InvalidArgument", match=message):
        await create(account, trigger_type, config)
    assert (await account.triggers.list("s", "f", Listing())).items == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trigger_name": ""}, "TriggerName is required"),
        ({"trigger_name": "1"}, "TriggerName is set to an invalid value"),
        ({"trigger_type": ""}, "TriggerType is required"),
        ({"trigger_type": "smoke"}, "TriggerType is set to an invalid value"),
        ({"description": "d" * 257}, "Description"),
        ({"source_arn": ""}, "SourceArn is required"),
    ],
)
async def test_bad_values_are_refused(account: Account, values: dict[str, Any], message: str) -> None:
    with refused("InvalidArgument", match=message):
        await create(account, "oss", **values)


async def test_a_long_source_is_refused(account: Account) -> None:
    with refused("InvalidArgument", match="at most 512 characters"):
        await create(account, "cdn_events", source_arn="a" * 513)


async def test_a_bad_update_changes_nothing(account: Account) -> None:
    before = await create(account, "timer")
    with refused("InvalidArgument"):
        await update(account, {"cronExpression": "never"})
    with refused("PreconditionFailed"):
        await account.triggers.update("s", "f", TriggerInput(trigger_name="t", description="x"), "bad", by=THE_ACCOUNT)
    assert (await account.triggers.get("s", "f", "t")).document == before


async def test_a_timers_payload_may_not_make_its_event_larger_than_an_asynchronous_call_takes(account: Account) -> None:
    frame = len(tick_json("t", "", 0.0))
    most = "x" * (limits.ASYNC_PAYLOAD_BYTES - frame)
    await create(account, "timer", TIMER | {"payload": most})
    with refused("InvalidArgument", match="actual: 'events of 131073 bytes'"):
        await update(account, {"payload": most + "x"})
    with refused("InvalidArgument", match="TriggerConfig.Payload"):
        await update(account, {"payload": "é" * (len(most) // 2 + 1)})


async def test_a_log_triggers_parameter_may_not_make_its_event_larger_either(account: Account) -> None:
    await create(account, "log", LOG | {"functionParameter": {"a": "x" * 130_000}})
    with refused("InvalidArgument", match=r"TriggerConfig.FunctionParameter .* events of at most 131072 bytes"):
        await update(account, {"functionParameter": {"a": "x" * 131_000}})
    with refused("InvalidArgument", match="events of up to 13"):
        await create(account, "log", LOG | {"functionParameter": {"a": "\x01" * 22_000}}, trigger_name="u")


@pytest.mark.parametrize("trigger_type", ["timer", "oss", "log", "http"])
@pytest.mark.parametrize(
    "role",
    [
        "garbage", "acs:ram::123:role/", "acs:ram::123:role/a/b", "acs:ram:::role/r", "acs:ram:cn-hangzhou:123:role/r",
        "acs:ram::123:user/r", " acs:ram::123:role/r", "acs:ram::123:role/r\n", "acs:ram::123:role/" + "r" * 65,
    ],
)  # fmt: skip
async def test_an_invocation_role_is_the_arn_of_a_role(account: Account, trigger_type: str, role: str) -> None:
    allowed = "InvocationRole is set to an invalid value .*acs:ram::123:role/name"
    with refused("InvalidArgument", match=allowed):
        await create(account, trigger_type, invocation_role=role)
    before = await create(account, trigger_type, invocation_role=ROLE)
    with refused("InvalidArgument", match=allowed):
        await update(account, invocation_role=role)
    assert (await account.triggers.get("s", "f", "t")).document == before
    assert (await update(account, invocation_role="")).invocation_role == ""


async def test_a_qualifier_has_one_http_trigger(account: Account) -> None:
    await account.publish()
    await account.alias("a", "1")
    await create(account, "http")
    with refused("TriggerAlreadyExists", match="HTTP trigger 't' under qualifier 'LATEST'") as conflict:
        await create(account, "http", trigger_name="u", qualifier="LATEST")
    assert conflict.value.code == "TriggerAlreadyExists"
    await create(account, "http", trigger_name="v", qualifier="1")
    await create(account, "http", trigger_name="w", qualifier="a")
    with refused("TriggerAlreadyExists", match="under qualifier '1'"):
        await update(account, qualifier="1")
    await create(account, "oss", trigger_name="x", qualifier="1")
    assert (await update(account, HTTP | {"authType": "function"})).trigger_config["authType"] == "function"


async def test_the_qualifier_must_exist(account: Account) -> None:
    with refused("VersionNotFound"):
        await create(account, "timer", qualifier="1")
    await create(account, "timer")
    with refused("AliasNotFound"):
        await update(account, qualifier="a")


async def test_conflicts_and_absences(account: Account) -> None:
    await create(account, "timer")
    with refused("TriggerAlreadyExists", match="trigger 't' already exists in service 's' and function 'f'"):
        await create(account, "timer")
    triggers = account.triggers
    for step in (
        triggers.get("s", "f", "x"),
        triggers.update("s", "f", TriggerInput(trigger_name="x"), by=THE_ACCOUNT),
        triggers.delete("s", "f", "x"),
    ):
        with refused("TriggerNotFound", match="trigger 'x' does not exist in service 's' and function 'f'"):
            await step
    sent = TriggerInput(trigger_name="t", trigger_type="timer", trigger_config=TIMER)
    for error, path in (("ServiceNotFound", ("x", "f")), ("FunctionNotFound", ("s", "x"))):
        for attempt in (
            triggers.create(*path, sent, by=THE_ACCOUNT),
            triggers.get(*path, "t"),
            triggers.update(*path, sent, by=THE_ACCOUNT),
            triggers.delete(*path, "t"),
            triggers.list(*path, Listing()),
        ):
            with refused(error):
                await attempt


async def test_a_function_with_triggers_stays(account: Account) -> None:
    await create(account, "timer")
    with refused("FunctionNotEmpty", match="function 'f' has active triggers") as conflict:
        await account.functions.delete("s", "f")
    assert conflict.value.status == 409
    await account.triggers.delete("s", "f", "t", (await account.triggers.get("s", "f", "t")).etag)
    await account.functions.delete("s", "f")


async def test_five_triggers_by_two_are_three_calls(account: Account) -> None:
    for number in range(5):
        await create(account, "timer", trigger_name=f"t{number}")
    token: str | None = ""
    calls = 0
    while token is not None:
        page = await account.triggers.list("s", "f", Listing(limit=2, next_token=token))
        token, calls = page.next_token, calls + 1
    assert calls == 3


def oss(event: str, prefix: str = "", suffix: str = "") -> dict[str, Any]:
    return {"events": [event], "filter": {"key": {"prefix": prefix, "suffix": suffix}}}


@pytest.mark.parametrize(
    ("event", "prefix", "suffix", "fits"),
    [
        # The cloud's own examples, beside a trigger of oss:ObjectCreated:PutObject, prefix source, suffix zip.
        ("oss:ObjectCreated:*", "source", "zip", False),
        ("oss:ObjectCreated:*", "source1", "zip1", True),
        ("oss:ObjectCreated:PutObject", "source", "zip", False),
        ("oss:ObjectCreated:PutObject", "source", "1zip", False),
        ("oss:ObjectCreated:PutObject", "source1", "zip", False),
        ("oss:ObjectCreated:PutObject", "source", "", False),
        ("oss:ObjectCreated:PutObject", "", "zip", False),
        ("oss:ObjectCreated:PutObject", "source1", "zip1", True),
        ("oss:ObjectCreated:PutObject", "1source", "1zip", True),
        ("oss:ObjectCreated:PostObject", "source", "zip", True),
        ("oss:ObjectRemoved:*", "", "", True),
        ("oss:Object*", "", "", False),
    ],
)
async def test_no_event_calls_two_functions(account: Account, event: str, prefix: str, suffix: str, fits: bool) -> None:
    await create(account, "oss", oss("oss:ObjectCreated:PutObject", "source", "zip"))
    await account.functions.create("s", hello(function_name="g"), by=THE_ACCOUNT)
    sent = TriggerInput(
        trigger_name="u", trigger_type="oss", trigger_config=oss(event, prefix, suffix), source_arn=SOURCE
    )
    if fits:
        await account.triggers.create("s", "g", sent, by=THE_ACCOUNT)
        return
    said = "event source 'oss' returned error: Cannot specify overlapping prefix and suffix with same event type"
    with refused("OSSInvalidRequest", match=said) as error:
        await account.triggers.create("s", "g", sent, by=THE_ACCOUNT)
    assert error.value.status == 400
    assert "'s/f/t' on bucket 'bucket'" in str(error.value)
    # Of another bucket all are free; its update does not look at the trigger itself.
    await account.catalog.edit(lambda tx: tx.put(records.BUCKET, "", "other", Bucket("other", "123")))
    elsewhere = msgspec.structs.replace(sent, source_arn="acs:oss:cn-hangzhou:123:other")
    await account.triggers.create("s", "g", elsewhere, by=THE_ACCOUNT)
    await account.triggers.update("s", "g", elsewhere, by=THE_ACCOUNT)


async def test_an_update_may_not_overlap_either(account: Account) -> None:
    await create(account, "oss", oss("oss:ObjectCreated:*", "a/"))
    await create(account, "oss", oss("oss:ObjectCreated:*", "b/"), trigger_name="u")
    with refused("OSSInvalidRequest", match="overlapping prefix and suffix"):
        await update(account, oss("oss:ObjectCreated:PutObject", "b/c"))
    await update(account, oss("oss:ObjectRemoved:*", "b/c"))
    await account.triggers.delete("s", "f", "u")
    await update(account, oss("oss:ObjectCreated:PutObject", "b/c"))


@pytest.mark.parametrize(
    "source",
    ["junk", SOURCE, "acs:log:cn-hangzhou:456:project/p", "acs:log:cn-beijing:123:project/p",
     "acs:log:cn-hangzhou:123:project/", "acs:log:cn-hangzhou:123:p", "acs:log:cn-hangzhou:123:project/p/logstore/l"],
)  # fmt: skip
async def test_the_source_of_a_log_trigger_is_a_project_of_this_server(account: Account, source: str) -> None:
    with refused("InvalidArgument", match=r"SourceArn .*allowed: acs:log:cn-hangzhou:123:project/<project>"):
        await create(account, "log", source_arn=source)


@pytest.mark.parametrize(
    ("source", "code", "text"),
    [
        ("acs:oss:cn-hangzhou:123:nowhere", "OSSNoSuchBucket", "The specified bucket does not exist. Bucket 'nowhere'"),
        ("acs:oss:cn-hangzhou:123:theirs", "OSSNoSuchBucket", "The specified bucket does not exist"),
        ("acs:oss:cn-hangzhou:456:bucket", "InvalidArgument", "SourceArn is set to an invalid value"),
        ("acs:oss:cn-beijing:123:bucket", "InvalidArgument", "allowed: acs:oss:cn-hangzhou:123:<bucket>"),
        ("acs:oss:cn-hangzhou:123:", "InvalidArgument", "SourceArn"),
        ("bucket", "InvalidArgument", "SourceArn"),
        ("", "InvalidArgument", "SourceArn is required"),
    ],
)
async def test_the_bucket_of_a_trigger_must_be_there(account: Account, source: str, code: str, text: str) -> None:
    await account.catalog.edit(lambda tx: tx.put(records.BUCKET, "", "theirs", Bucket("theirs", "456")))
    with refused(code, match=text):
        await create(account, "oss", source_arn=source)
    await create(account, "oss")


@pytest.mark.parametrize("event", ["ObjectCreated:*", "oss:", "oss:ObjectCreated:Put", "oss:objectcreated:*", "oss:*x"])
async def test_an_event_that_no_cloud_knows_is_refused(account: Account, event: str) -> None:
    with refused("InvalidArgument", match="TriggerConfig.Events is set to an invalid value"):
        await create(account, "oss", oss(event))


async def test_the_account_must_let_the_caller_subscribe(account: Account) -> None:
    class Stranger(FakeRequester):
        def require(self, action: str, resource: str) -> None:
            raise Forbidden(f"{action} {resource}")

    sent = TriggerInput(trigger_name="t", trigger_type="oss", trigger_config=OSS, source_arn=SOURCE)
    with refused("AccessDenied", match="oss:PutBucketEventNotification acs:oss:oss-cn-hangzhou:123:bucket"):
        await account.triggers.create("s", "f", sent, by=Stranger(THE_ACCOUNT.principal))
