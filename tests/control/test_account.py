"""Tags, VPC bindings and what the account says of itself, as reference/api.md §3.6 says.

Run by pytest.
Goes through no endpoint: input and answers are plain values.
"""

from typing import Any

import pytest
from tests.control.conftest import ARNS, Account
from tests.support.refusals import refused

from sesame.control.account import account_configs
from sesame.control.inputs import Listing, TagInput, UntagInput
from sesame.control.tags import ServiceTags
from sesame.control.vpc import VpcBindings
from sesame.model.arn import Arns


@pytest.fixture
def tags(account: Account) -> ServiceTags:
    return ServiceTags(account.catalog, ARNS)


async def tag(tags: ServiceTags, service: str, **values: str) -> None:
    await tags.tag(TagInput(resource_arn=ARNS.service(service), tags=values))


async def test_life_of_tags(account: Account, tags: ServiceTags) -> None:
    await account.service("s")
    arn = ARNS.service("s")
    assert await tags.get(arn) == ("s", {})
    await tag(tags, "s", k3="v3")
    await tag(tags, "s", k1="v1", k3="new")
    assert await tags.get("services/s") == ("s", {"k1": "v1", "k3": "new"})
    assert [record.name for record in (await tags.list(Listing())).items] == ["s"]
    await tags.untag(UntagInput(resource_arn=arn, tag_keys=("k3", "absent"), all=True))
    assert await tags.get(arn) == ("s", {"k1": "v1"})
    await tags.untag(UntagInput(resource_arn=arn, all=True))
    assert await tags.get(arn) == ("s", {})
    assert (await tags.list(Listing())).items == ()
    await tags.untag(UntagInput(resource_arn=arn, all=True))


async def test_tags_go_with_their_service(account: Account, tags: ServiceTags) -> None:
    await account.service("s")
    await tag(tags, "s", k="v")
    await account.services.delete("s")
    assert (await tags.list(Listing())).items == ()
    await account.service("s")
    assert await tags.get("services/s") == ("s", {})


async def test_bad_tags_are_refused(account: Account, tags: ServiceTags) -> None:
    await account.service("s")
    for sent, message in (
        (TagInput(tags={"k": "v"}), "ResourceArn is required"),
        (TagInput(resource_arn="functions/f", tags={"k": "v"}), "ResourceArn is set to an invalid value"),
        (TagInput(resource_arn="services/s"), "Tags is required"),
        (TagInput(resource_arn="services/s", tags={"": "v"}), "keys that are not empty"),
        (TagInput(resource_arn="services/s", tags={"k" * 129: "v"}), "at most 128 characters"),
        (TagInput(resource_arn="services/s", tags={"k": "v" * 129}), "at most 128 characters"),
        (TagInput(resource_arn="services/s", tags={f"k{n}": "v" for n in range(21)}), "at most 20 tags"),
    ):
        with refused("InvalidArgument", match=message):
            await tags.tag(sent)
    with refused("InvalidArgument", match="TagKeys is required"):
        await tags.untag(UntagInput(resource_arn="services/s"))
    for step in (
        tag(tags, "x", k="v"),
        tags.get("services/x"),
        tags.untag(UntagInput(resource_arn="services/x", all=True)),
    ):
        with refused("ServiceNotFound"):
            await step


async def test_services_are_listed_by_tags(account: Account, tags: ServiceTags) -> None:
    for name in ("abc", "abd", "ade", "bcd"):
        await account.service(name)
    await tag(tags, "abc", k1="v1", k3="v3")
    await tag(tags, "abd", k2="v2", k3="v3")
    await tag(tags, "ade", k1="v1", k3="v4")

    async def names(wanted: dict[str, str], **listing: Any) -> tuple[list[str], str | None]:
        page = await account.services.list(Listing(**listing), wanted)
        return [record.name for record in page.items], page.next_token

    assert await names({"k3": "v3"}, prefix="a") == (["abc", "abd"], None)
    assert (await names({"k3": ""}))[0] == ["abc", "abd", "ade"]
    assert await names({"k3": "v3", "k1": "v1"}) == (["abc"], None)
    assert await names({"k3": "v3", "k1": "v1", "k2": "v2"}) == ([], None)
    assert await names({"k3": ""}, limit=2) == (["abc", "abd"], "ade")
    assert await names({"k3": ""}, limit=2, next_token="ade") == (["ade"], None)


async def test_vpc_bindings(account: Account) -> None:
    bindings = VpcBindings(account.catalog)
    await account.service("s")
    await bindings.create("s", "vpc-2")
    await bindings.create("s", "vpc-1")
    await bindings.create("s", "vpc-1")
    assert await bindings.list("s") == ("vpc-1", "vpc-2")
    await bindings.delete("s", "vpc-1")
    assert await bindings.list("s") == ("vpc-2",)
    with refused("VpcBindingNotFound"):
        await bindings.delete("s", "vpc-1")
    with refused("InvalidArgument", match="VpcId is required"):
        await bindings.create("s", "")
    for step in (bindings.create("x", "v"), bindings.delete("x", "v"), bindings.list("x")):
        with refused("ServiceNotFound"):
            await step
    await account.services.delete("s")
    await account.service("s")
    assert await bindings.list("s") == ()


def test_account_configs_are_text() -> None:
    assert account_configs() == {"CodeSizeLimit": "104857600"}
    assert account_configs(["CodeSizeLimit", "Unknown"]) == {"CodeSizeLimit": "104857600"}
    assert account_configs(["Unknown"]) == {}


def test_arns() -> None:
    arns = Arns("cn-hangzhou", "123")
    assert arns.service("s") == "acs:fc:cn-hangzhou:123:services/s"
    assert arns.function("s", "f") == "acs:fc:cn-hangzhou:123:services/s/functions/f"
    assert arns.function("s", "f", "q") == "acs:fc:cn-hangzhou:123:services/s.q/functions/f"
    assert arns.layer("l", 2) == "acs:fc:cn-hangzhou:123:layers/l/versions/2"
    for text in (arns.service("s"), "services/s", "acs:fc:::services/s", "acs:fc:cn-hangzhou::services/s"):
        assert arns.own_service(text) == "s"
    for text in ("", "s", arns.function("s", "f"), "services/", "services/s.1", "acs:oss:::services/s"):
        assert arns.own_service(text) is None
    for text in ("acs:fc:cn-hangzhou:7:services/s", "acs:fc:cn-beijing:123:services/s", "acs:fc::7:services/s"):
        assert arns.own_service(text) is None, "another account's, or of another region"
