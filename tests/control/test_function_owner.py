"""Versions and aliases of a function that belongs to no service, by the same code as those of services."""

import pytest
from tests.control.conftest import Account

from sesame.control.functions import NO_PACKAGE
from sesame.control.inputs import AliasInput, Listing, PublishInput
from sesame.control.views import owned_function
from sesame.model import records
from sesame.model.errors import NotFound, PreconditionFailed, Unchanged
from sesame.model.function import Function
from sesame.model.owner import VersionOwner

OWNER = VersionOwner.function("f")
SERVICE = VersionOwner.service("f")


def function(description: str) -> Function:
    return Function(
        function_name="f", function_id="1", runtime="custom", handler="h", package=NO_PACKAGE, description=description
    )


async def deploy(account: Account, description: str = "") -> str:
    edited = await account.catalog.edit(lambda tx: tx.put(records.FUNCTION, "", "f", function(description)))
    return edited.etag


def seen(account: Account, qualifier: str = "") -> str:
    return str(owned_function(account.catalog, OWNER, "f", qualifier).document.description)


async def test_versions_freeze_the_function(account: Account) -> None:
    await deploy(account, "one")
    assert (await account.versions.publish(OWNER, PublishInput(description="first"))).name == "1"
    etag = await deploy(account, "two")
    with pytest.raises(PreconditionFailed):
        await account.versions.publish(OWNER, PublishInput(), "other")
    assert (await account.versions.publish(OWNER, PublishInput(), etag)).name == "2"
    with pytest.raises(Unchanged) as unchanged:
        await account.versions.publish(OWNER, PublishInput())
    assert (unchanged.value.kind, unchanged.value.name, unchanged.value.version) == (records.FUNCTION, "f", "2")
    await deploy(account, "three")
    assert [seen(account, qualifier) for qualifier in ("", "LATEST", "1", "2")] == ["three", "three", "one", "two"]
    assert [record.name for record in (await account.versions.list(OWNER, Listing())).items] == ["2", "1"]
    await account.versions.delete(OWNER, "1")
    with pytest.raises(NotFound) as absent:
        seen(account, "1")
    assert (absent.value.kind, absent.value.name, absent.value.parent) == (records.VERSION, "1", ("f",))


async def test_aliases_point_to_versions_of_the_function(account: Account) -> None:
    await deploy(account, "one")
    await account.versions.publish(OWNER, PublishInput())
    await deploy(account, "two")
    await account.versions.publish(OWNER, PublishInput())
    await account.aliases.create(OWNER, AliasInput(alias_name="a", version_id="1"))
    assert seen(account, "a") == "one"
    await account.aliases.update(OWNER, "a", AliasInput(version_id="2", additional_version_weight={"1": 0.5}))
    assert seen(account, "a") == "two"
    assert [record.name for record in (await account.aliases.list(OWNER, Listing())).items] == ["a"]
    await account.aliases.delete(OWNER, "a")
    with pytest.raises(NotFound):
        seen(account, "a")


async def test_a_service_of_the_same_name_has_versions_and_aliases_of_its_own(account: Account) -> None:
    await deploy(account, "function")
    await account.service("f")
    await account.versions.publish(OWNER, PublishInput())
    await account.aliases.create(OWNER, AliasInput(alias_name="a", version_id="1"))
    assert (await account.versions.list(SERVICE, Listing())).items == ()
    assert (await account.aliases.list(SERVICE, Listing())).items == ()
    await account.versions.publish(SERVICE, PublishInput())
    await account.versions.delete(SERVICE, "1")
    assert seen(account, "a") == "function"


async def test_what_does_not_exist_has_no_versions(account: Account) -> None:
    with pytest.raises(NotFound) as absent:
        await account.versions.publish(OWNER, PublishInput())
    assert (absent.value.kind, absent.value.name) == (records.FUNCTION, "f")
