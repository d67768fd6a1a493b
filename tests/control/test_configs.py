"""Asynchronous, provisioned and on-demand configuration as reference/api.md §3.6 says.

Run by pytest.
Never starts an instance.
"""

from typing import Any

import pytest
from tests.control.conftest import ARNS, Account, hello
from tests.support.refusals import refused
from tests.support.requesters import THE_ACCOUNT

from sesame.control.async_configs import AsyncConfigs
from sesame.control.async_policies import AsyncPolicies
from sesame.control.inputs import AsyncConfigInput, Listing, OnDemandInput, ProvisionInput
from sesame.control.on_demand_configs import OnDemandConfigs, resource_of
from sesame.control.provision_configs import ProvisionConfigs
from sesame.model import records
from sesame.model.async_result import AsyncPolicy
from sesame.model.configs import (
    AsyncConfig,
    Destination,
    DestinationConfig,
    ProvisionConfig,
    ScheduledAction,
    TargetTrackingPolicy,
)
from sesame.model.errors import Invalid, NotFound
from sesame.model.invocation import Target

S = "s"

MNS = Destination("acs:mns:cn-hangzhou:123:/queues/qx/messages")
START, END = "2020-10-10T10:10:10Z", "2030-10-10T10:10:10Z"
ACTION = ScheduledAction("a1", START, END, 5, "at(2020-10-20T10:10:10Z)")
POLICY = TargetTrackingPolicy("p1", START, END, "ProvisionedConcurrencyUtilization", 0.6, 5, 200)


@pytest.fixture(autouse=True)
async def function(account: Account) -> None:
    await account.service("s")
    await account.functions.create("s", hello(), by=THE_ACCOUNT)
    await account.publish()
    for number in range(3):
        await account.alias(f"test-qualifier-{number}", "1")


@pytest.fixture
def asynchronous(account: Account) -> AsyncConfigs:
    return AsyncConfigs(account.catalog, ARNS)


@pytest.fixture
def provision(account: Account) -> ProvisionConfigs:
    return ProvisionConfigs(account.catalog)


@pytest.fixture
def on_demand(account: Account) -> OnDemandConfigs:
    return OnDemandConfigs(account.catalog)


async def test_async_configuration_is_replaced_whole(asynchronous: AsyncConfigs) -> None:
    sent = AsyncConfigInput(destination_config=DestinationConfig(on_failure=MNS), max_async_retry_attempts=1)
    record = await asynchronous.put("s", "f", "test-qualifier-0", sent)
    assert record.document == AsyncConfig(
        service="s", function="f", qualifier="test-qualifier-0",
        destination_config=DestinationConfig(None, MNS),
        max_async_event_age_in_seconds=None, max_async_retry_attempts=1,
    )  # fmt: skip
    assert await asynchronous.get("s", "f", "test-qualifier-0") == record
    replaced = await asynchronous.put("s", "f", "test-qualifier-0", AsyncConfigInput(stateful_invocation=True))
    assert replaced.document.max_async_retry_attempts is None
    assert replaced.document.destination_config == DestinationConfig()
    assert replaced.created_at == record.created_at
    with refused("AsyncConfigNotExists", match=r"AsyncConfig for s\.LATEST:f does not exist\.") as absent:
        await asynchronous.get("s", "f")
    assert absent.value.status == 404
    assert (await asynchronous.put("s", "f", "", AsyncConfigInput())).document.qualifier == "LATEST"


async def test_async_lists_page_by_the_plain_qualifier(asynchronous: AsyncConfigs, account: Account) -> None:
    assert (await asynchronous.list("s", "f", Listing())).items == ()
    await account.functions.create("s", hello(function_name="ff"), by=THE_ACCOUNT)
    await asynchronous.put("s", "ff", "", AsyncConfigInput())
    for number in range(3):
        await asynchronous.put("s", "f", f"test-qualifier-{number}", AsyncConfigInput())
    page = await asynchronous.list("s", "f", Listing(limit=1))
    assert (len(page.items), page.next_token) == (1, "test-qualifier-1")
    page = await asynchronous.list("s", "f", Listing(next_token="test-qualifier-1"))
    assert ([r.document.qualifier for r in page.items], page.next_token) == (
        ["test-qualifier-1", "test-qualifier-2"], None,
    )  # fmt: skip
    await asynchronous.delete("s", "f", "test-qualifier-0")
    with refused("AsyncConfigNotExists"):
        await asynchronous.delete("s", "f", "test-qualifier-0")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_async_retry_attempts": 9}, "MaxAsyncRetryAttempts"),
        ({"max_async_retry_attempts": -1}, "MaxAsyncRetryAttempts"),
        ({"max_async_event_age_in_seconds": 0}, "MaxAsyncEventAgeInSeconds"),
        ({"max_async_event_age_in_seconds": 604801}, "MaxAsyncEventAgeInSeconds"),
        ({"destination_config": DestinationConfig(on_success=Destination("queue"))}, "OnSuccess.Destination"),
    ],
)
async def test_bad_async_values(asynchronous: AsyncConfigs, values: dict[str, Any], message: str) -> None:
    with refused("InvalidArgument", match=message):
        await asynchronous.put("s", "f", "", AsyncConfigInput(**values))


async def test_async_absences(asynchronous: AsyncConfigs) -> None:
    for error, path in (
        ("ServiceNotFound", ("x", "f", "")),
        ("FunctionNotFound", ("s", "x", "")),
        ("AliasNotFound", ("s", "f", "x")),
    ):
        for step in (
            asynchronous.put(*path, AsyncConfigInput()),
            asynchronous.get(*path),
            asynchronous.delete(*path),
        ):
            with refused(error):
                await step
    with refused("FunctionNotFound"):
        await asynchronous.list("s", "x", Listing())


async def test_configuration_goes_with_its_alias_version_function_and_service(
    account: Account, asynchronous: AsyncConfigs, provision: ProvisionConfigs
) -> None:
    for qualifier in ("", "1", "test-qualifier-0"):
        await asynchronous.put("s", "f", qualifier, AsyncConfigInput())
        await provision.put(("s", "f", qualifier), ProvisionInput(target=1))

    def left() -> set[tuple[str, str]]:
        found = [*account.catalog.of_kind(records.ASYNC_CONFIG), *account.catalog.of_kind(records.PROVISION_CONFIG)]
        return {(record.kind, record.document.qualifier) for record in found}

    assert len(left()) == 6
    await account.functions.delete("s", "f")
    assert {qualifier for _, qualifier in left()} == {"1", "test-qualifier-0"}
    await account.aliases.delete(S, "test-qualifier-0")
    assert {qualifier for _, qualifier in left()} == {"1"}
    await account.versions.delete(S, "1")
    assert left() == set()


async def test_provision_keeps_lists_that_are_not_sent(provision: ProvisionConfigs) -> None:
    path = ("s", "f", "test-qualifier-0")
    later = ScheduledAction("a2", START, END, 5, "cron(0 */30 * * * *)")
    sent = ProvisionInput(target=3, scheduled_actions=(ACTION, later), target_tracking_policies=(POLICY,))
    record = await provision.put(path, sent)
    assert record.document == ProvisionConfig(
        service="s", function="f", qualifier="test-qualifier-0", target=3,
        scheduled_actions=(ACTION, later), target_tracking_policies=(POLICY,),
    )  # fmt: skip
    kept = await provision.put(path, ProvisionInput(target=4))
    assert (kept.document.target, len(kept.document.scheduled_actions)) == (4, 2)
    cleared = await provision.put(path, ProvisionInput(target=4, scheduled_actions=(), target_tracking_policies=()))
    assert (cleared.document.scheduled_actions, cleared.document.target_tracking_policies) == ((), ())
    with refused("PreconditionFailed"):
        await provision.put(path, ProvisionInput(target=5), "bad")
    assert (await provision.get(*path)).document.target == 4


async def test_provision_of_nothing_is_zero_and_leaves_no_trace(account: Account, provision: ProvisionConfigs) -> None:
    assert (await provision.get("s", "f")).document.target == 0
    await provision.put(("s", "f", ""), ProvisionInput(target=3))
    zero = await provision.put(("s", "f", ""), ProvisionInput(target=0))
    assert (zero.document.target, zero.document.qualifier) == (0, "LATEST")
    assert account.catalog.count(records.PROVISION_CONFIG, "s") == 0
    assert (await provision.get("s", "f")).document == zero.document
    await provision.put(("s", "f", ""), ProvisionInput(target=0))
    assert (await provision.list(Listing())).items == ()


async def test_provision_lists(account: Account, provision: ProvisionConfigs) -> None:
    await account.service("t")
    await account.functions.create("t", hello(), by=THE_ACCOUNT)
    for path in (("s", "f", "test-qualifier-0"), ("s", "f", "1"), ("t", "f", "")):
        await provision.put(path, ProvisionInput(target=1))
    assert len((await provision.list(Listing())).items) == 3
    assert len((await provision.list(Listing(), "s")).items) == 2
    page = await provision.list(Listing(), "s", "1")
    assert ([record.document.qualifier for record in page.items], page.next_token) == (["1"], None)
    first = await provision.list(Listing(limit=2))
    assert first.next_token is not None
    rest = await provision.list(Listing(next_token=first.next_token))
    assert [record.parent for record in (*first.items, *rest.items)] == ["s", "s", "t"]
    with refused("InvalidArgument", match="Service name is required if qualifier is provided"):
        await provision.list(Listing(), "", "1")
    with refused("ServiceNotFound"):
        await provision.list(Listing(), "x")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "Target is required"),
        ({"target": -1}, "Target"),
        ({"target": 10_001}, "Target"),
        (
            {"scheduled_actions": (ACTION, ACTION)},
            "^Duplicate action name 'a1' in ScheduledActions is not allowed$",
        ),
        (
            {"scheduled_actions": (ScheduledAction("a", "2020-10-10T10:10:10", END, 5, "at(2020-10-20T10:10:10Z)"),)},
            r"^The StartTime is not in UTC time format \(example: '2020-10-10T10:10:10Z', "
            r"actual: '2020-10-10T10:10:10'\)$",
        ),
        (
            {"scheduled_actions": (ScheduledAction("a", START, END, 5, "cron(0 0 0 31 2 ?)"),)},
            r"^The ScheduleExpression should be atTime or cron expression",
        ),
        (
            {"scheduled_actions": (ScheduledAction("a", START, END, 5, "cron(0s */30 * * * *)"),)},
            r"^The ScheduleExpression should be atTime or cron expression \(example: \['at\(2020-10-10T10:10:10Z\)', "
            r"'cron\(0 \*/30 \* \* \* \*\)'\], actual: 'cron\(0s \*/30 \* \* \* \*\)'\)$",
        ),
        (
            {"scheduled_actions": tuple(ScheduledAction(f"a{n}", START, END, 5) for n in range(110))},
            r"^ScheduledActions contains too many values \(max: 100, actual: 110\)$",
        ),
        ({"scheduled_actions": (ScheduledAction("", START, END, 5, "at(2020-10-20T10:10:10Z)"),)}, "Name is required"),
        ({"scheduled_actions": (ScheduledAction("a" * 129, START, END, 5),)}, "at most 128 characters"),
        ({"scheduled_actions": (ScheduledAction("a", END, START, 5),)}, "EndTime"),
        ({"scheduled_actions": (ScheduledAction("a", START, END, -1),)}, "ScheduledActions.Target"),
        ({"target_tracking_policies": (TargetTrackingPolicy("p", START, END, "Load", 0.5),)}, "MetricType"),
        (
            {"target_tracking_policies": (TargetTrackingPolicy("p", START, END, "GPUMemUtilization", 0.5),)},
            "MetricType",
        ),
        ({"scheduled_actions": (ScheduledAction("a", START, END, 5, time_zone="Mars/Base"),)}, "TimeZone"),
        (
            {"target_tracking_policies": (TargetTrackingPolicy("p", START, END, POLICY.metric_type, 1.5),)},
            "MetricTarget",
        ),
        (
            {"target_tracking_policies": (TargetTrackingPolicy("p", START, END, POLICY.metric_type, 0.5, 5, 4),)},
            "MaxCapacity",
        ),
    ],
)
async def test_bad_provision_values(provision: ProvisionConfigs, values: dict[str, Any], message: str) -> None:
    with refused("InvalidArgument", match=message):
        await provision.put(("s", "f", ""), ProvisionInput(**({"target": 3} | values if values else {})))
    assert (await provision.list(Listing())).items == ()


async def test_on_demand_needs_no_function(on_demand: OnDemandConfigs) -> None:
    for number in range(5):
        resource = resource_of("nowhere", "nothing", f"test-qualifier-{number}")
        record = await on_demand.put(resource, OnDemandInput(maximum_instance_count=number))
        assert record.document.resource == f"services/nowhere.test-qualifier-{number}/functions/nothing"
        assert (await on_demand.get(resource)).document.maximum_instance_count == number
    assert len((await on_demand.list(Listing())).items) == 5
    assert len((await on_demand.list(Listing(prefix="services/nowhere.test-qualifier-1"))).items) == 1
    assert len((await on_demand.list(Listing(start_key="services/nowhere.test-qualifier-3"))).items) == 2
    page = await on_demand.list(Listing(limit=3))
    assert page.next_token is not None
    assert len((await on_demand.list(Listing(next_token=page.next_token))).items) == 2
    await on_demand.delete(resource)
    for step in (on_demand.get(resource), on_demand.delete(resource)):
        with refused("OnDemandConfigNotFound") as absent:
            await step
    assert absent.value.code == "OnDemandConfigNotFound"


async def test_on_demand_preconditions_and_values(on_demand: OnDemandConfigs) -> None:
    resource = resource_of("s", "f")
    assert resource == "services/s.LATEST/functions/f"
    etag = (await on_demand.put(resource, OnDemandInput(maximum_instance_count=1))).etag
    for step in (
        on_demand.put(resource, OnDemandInput(maximum_instance_count=2), "bad"),
        on_demand.put(resource_of("s", "other"), OnDemandInput(maximum_instance_count=2), "*"),
        on_demand.delete(resource, "bad"),
    ):
        with refused("PreconditionFailed"):
            await step
    await on_demand.delete(resource, etag)
    with refused("InvalidArgument", match="MaximumInstanceCount is required"):
        await on_demand.put(resource, OnDemandInput())
    with refused("InvalidArgument", match="MaximumInstanceCount"):
        await on_demand.put(resource, OnDemandInput(maximum_instance_count=-1))
    for path in (("9", "f"), ("s", "f/g"), ("s", "f", "a/b"), ("s", "f", "01"), ("s", "f", "１"), ("s", "f", "9" * 19)):
        with refused("InvalidArgument"):
            resource_of(*path)


@pytest.mark.parametrize(
    "destination",
    [
        "http://127.0.0.1:8080/in?q=a%20b", "https://h/", "HTTP://h/?to=a@b", "services/s.prod/functions/f",
        "services/s/functions/f", "functions/s$f", "functions/f", "acs:fc:::functions/f/prod",
        "acs:fc:cn-hangzhou:123:functions/s$f/1",
        "acs:fc:::services/s.1/functions/f", "acs:fc:cn-hangzhou:123:services/s.LATEST/functions/f",
        "acs:mns:cn-hangzhou:123:/queues/q/messages", "acs:mns:::/topics/t-1/messages", "acs:eventbridge:::eventbus/b",
        "acs:mq:cn-hangzhou:123:/instances/MQ_INST_1/topic/t", "acs:mq:::/instances/i/topics/t/messages",
    ],
)  # fmt: skip
async def test_destinations_that_can_be_right(account: Account, asynchronous: AsyncConfigs, destination: str) -> None:
    sent = AsyncConfigInput(destination_config=DestinationConfig(on_success=Destination(destination)))
    kept = await asynchronous.put("s", "f", "", sent)
    assert kept.document.destination_config.on_success == Destination(destination)
    assert AsyncPolicies(account.catalog).policy_of(Target("s", "LATEST", "f")).on_success == destination


FUNCTION_FORM = "acs:fc:cn-hangzhou:123:services/{service}[.{qualifier}]/functions/{function}"
PLACE = "region cn-hangzhou and account 123"


@pytest.mark.parametrize(
    ("destination", "allowed"),
    [
        ("file:///etc/passwd", FUNCTION_FORM), ("queue", FUNCTION_FORM), ("acs", FUNCTION_FORM),
        ("acs:", FUNCTION_FORM),
        ("ftp://h/", "or an HTTP(S) URL"), ("acs:log:cn-hangzhou:123:project/p", "eventbus/{bus}, or an HTTP(S) URL"),
        ("acs:fc:::services/s", FUNCTION_FORM), ("acs:fc", FUNCTION_FORM),
        ("acs:fc:cn-hangzhou:123:services/s/functions/f/", FUNCTION_FORM), ("services/s/functions/f/", FUNCTION_FORM),
        ("acs:fc:::services/s/functions/f/triggers/t", FUNCTION_FORM), ("services/9/functions/f", FUNCTION_FORM),
        ("acs:fc:::services/s./functions/f", FUNCTION_FORM),
        ("acs:fc:::services/s/functions/" + "f" * 65, FUNCTION_FORM),
        ("services/s.a b/functions/f", FUNCTION_FORM), ("services/s.٣/functions/f", FUNCTION_FORM),
        ("functions/a$b$c", FUNCTION_FORM),
        ("acs:fc:cn-beijing:123:services/s/functions/f", PLACE), ("acs:fc::9:services/s/functions/f", PLACE),
        ("acs:mns", "/queues/{queue}/messages"), ("acs:mns:::", "/topics/{topic}/messages"),
        ("acs:mns:::/queues/q", "/queues/{queue}/messages"), ("acs:mns:::/queues/q/messages/", "/queues/{queue}"),
        ("acs:mns:::/queues//messages", "/queues/{queue}/messages"),
        ("acs:mns:cn-hangzhou:9:/queues/q/messages", PLACE),
        ("acs:eventbridge:::bus", "eventbus/{bus}"), ("acs:eventbridge:cn-beijing::eventbus/b", PLACE),
        ("acs:mq:::/topics/t", "/instances/{instance}/topic/{topic}"), ("ACS:MNS:::/queues/q/messages", "HTTP(S) URL"),
        ("acs:mns:\n", "printable characters"), ("https://h/" + "x" * 2048, "at most 2048"),
        ("http://a..b/", "with a host"), (f"http://{'a' * 64}.x/", "with a host"), ("http://./", "with a host"),
        ("http://", "with a host"), ("http://h/#part", "without user name, password and fragment"),
        ("http://user:s3cr3t@h/", "without user name, password"), ("http://s3cr3t@h/", "without user name, password"),
        ("https://user:s3/cr3t@h/", "without user name, password"), ("HTTPS://user:s3cr3t@h/", "without user name"),
        ("http://h:s3cr3t@", "with a host"), ("ftp://user:s3cr3t@h/", "or an HTTP(S) URL"),
    ],
)  # fmt: skip
async def test_destinations_that_can_never_be_right_are_refused(
    asynchronous: AsyncConfigs, destination: str, allowed: str
) -> None:
    for config in (
        DestinationConfig(on_success=Destination(destination)),
        DestinationConfig(on_failure=Destination(destination)),
    ):
        with pytest.raises(Invalid, match=r"on_(success|failure)\.destination") as refusal:
            await asynchronous.put("s", "f", "", AsyncConfigInput(destination_config=config))
        assert allowed in str(refusal.value)
        assert "s3" not in str(refusal.value), "no password is repeated"
    with pytest.raises(NotFound):
        await asynchronous.get("s", "f")


async def test_a_policy_has_the_defaults_for_what_is_not_set(account: Account, asynchronous: AsyncConfigs) -> None:
    target, policy_of = Target("s", "LATEST", "f"), AsyncPolicies(account.catalog).policy_of
    assert policy_of(target) == AsyncPolicy()
    sent = AsyncConfigInput(max_async_retry_attempts=0, max_async_event_age_in_seconds=5, stateful_invocation=True)
    await asynchronous.put("s", "f", "", sent)
    assert policy_of(target) == AsyncPolicy(max_retries=0, max_age_s=5, stateful=True)
    assert policy_of(Target("s", "prod", "f")) == AsyncPolicy()


async def test_a_url_to_which_no_record_is_sent_is_refused(account: Account) -> None:
    configs = AsyncConfigs(account.catalog, ARNS, lambda url: "an address outside" if "169.254" in url else "")
    good, bad = (DestinationConfig(Destination(url)) for url in ("http://a.com/", "http://169.254.169.254/"))
    await configs.put("s", "f", "", AsyncConfigInput(destination_config=good))
    with refused("InvalidArgument", match="OnSuccess.Destination .*allowed: an address outside, actual: 'http://169"):
        await configs.put("s", "f", "", AsyncConfigInput(destination_config=bad))
