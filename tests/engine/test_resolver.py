"""What a qualifier resolves to: the present, versions, aliases with a canary, layers; and when it is decided anew.

Run by pytest.
Never runs a function.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.conftest import PACKAGE, Engine, build

from sesame.engine.interface import Destined
from sesame.model import limits, records
from sesame.model.alias import Alias
from sesame.model.errors import NotFound, Unusable
from sesame.model.function import Function, Package
from sesame.model.invocation import Invocation, Target
from sesame.model.layer import LayerVersion
from sesame.model.service import Service
from sesame.model.version import FrozenFunction, Version, frozen_parent


def publish(engine: Engine, version: str, sha256: str, runtime: str = "python3.10") -> None:
    service = Service(service_name="s", service_id="id")
    function = Function(
        function_name="f", function_id="id", runtime=runtime, handler="index.handler",
        package=Package(sha256=sha256, checksum=sha256, size_bytes=1),
    )  # fmt: skip
    engine.catalog.put(records.VERSION, "s", version, Version(version_id=version, description="", service=service))
    frozen = FrozenFunction(function=function, etag="e", created_at=0.0, modified_at=0.0)
    engine.catalog.put(records.FROZEN_FUNCTION, frozen_parent("s", version), "f", frozen)


def target(qualifier: str = limits.LATEST) -> Target:
    return Target("s", qualifier, "f")


def test_the_present_state_is_latest(engine: Engine) -> None:
    snapshot = engine.resolver.resolve(target())
    assert (snapshot.version_id, snapshot.code) == ("LATEST", "aa")


def test_a_version_keeps_its_code_whatever_is_deployed_later(engine: Engine) -> None:
    publish(engine, "1", "one")
    before = engine.resolver.resolve(target("1"))
    engine.deploy(package=Package(sha256="new", checksum="new", size_bytes=1))
    after = engine.resolver.resolve(target("1"))
    assert (after.code, after.version_id, after.key) == ("one", "1", before.key)


def test_unpublished_qualifiers_are_not_found(engine: Engine) -> None:
    with pytest.raises(NotFound):
        engine.resolver.resolve(target("7"))
    with pytest.raises(NotFound):
        engine.resolver.resolve(target("prod"))
    publish(engine, "1", "one")
    with pytest.raises(NotFound):
        engine.resolver.resolve(Target("s", "1", "g"))


def test_an_alias_follows_when_it_is_moved(engine: Engine) -> None:
    publish(engine, "1", "one")
    publish(engine, "2", "two")
    engine.catalog.put(records.ALIAS, "s", "prod", Alias(alias_name="prod", version_id="1"))
    assert engine.resolver.resolve(target("prod")).version_id == "1"
    engine.catalog.put(records.ALIAS, "s", "prod", Alias(alias_name="prod", version_id="2"))
    assert engine.resolver.resolve(target("prod")).version_id == "2"


@given(weight=st.floats(0.0, 1.0), chance=st.floats(0.0, 1.0, exclude_max=True))
def test_a_canary_gets_the_calls_whose_chance_is_below_its_weight(weight: float, chance: float) -> None:
    engine = build(chance=lambda: chance)
    engine.deploy()
    publish(engine, "1", "one")
    publish(engine, "2", "two")
    alias = Alias(alias_name="prod", version_id="1", additional_version_weight={"2": weight})
    engine.catalog.put(records.ALIAS, "s", "prod", alias)
    assert engine.resolver.resolve(target("prod")).version_id == ("2" if chance < weight else "1")


async def test_one_draw_decides_for_the_whole_of_a_call() -> None:
    draws = iter((0.1, 0.9))
    engine = build(chance=lambda: next(draws))
    engine.deploy()
    publish(engine, "2", "two", runtime="custom")
    publish(engine, "1", "one")
    alias = Alias(alias_name="prod", version_id="1", additional_version_weight={"2": 0.5})
    engine.catalog.put(records.ALIAS, "s", "prod", alias)
    destined = engine.local.destined(target("prod"))
    assert destined == Destined("2", streams=True)
    outcome = await engine.dispatcher.invoke(Invocation("r-1", target("prod"), b"", version=destined.version))
    assert outcome.version_id == "2"
    assert engine.local.destined(target()) == Destined("", streams=False)


def test_an_alias_with_a_weight_for_its_own_version_resolves_to_that_version(engine: Engine) -> None:
    publish(engine, "1", "one")
    alias = Alias(alias_name="prod", version_id="1", additional_version_weight={"1": 0.9})
    engine.catalog.put(records.ALIAS, "s", "prod", alias)
    assert engine.resolver.resolve(target("prod")).version_id == "1"


def test_layers_come_in_the_order_of_the_function(engine: Engine) -> None:
    for name, sha256 in (("a", "la"), ("b", "lb")):
        package = Package(sha256=sha256, checksum="1", size_bytes=1)
        engine.catalog.put(records.LAYER_VERSION, name, "1", LayerVersion(layer_name=name, version=1, package=package))
    arns = tuple(f"acs:fc:cn-shanghai:123:layers/{name}/versions/1" for name in ("b", "a"))
    engine.deploy(layers=arns)
    assert engine.resolver.resolve(target()).layers == ("lb", "la")
    engine.deploy(layers=("acs:fc:cn-shanghai:123:layers/none/versions/1",))
    with pytest.raises(Unusable, match="layer 'acs:fc:cn-shanghai:123:layers/none/versions/1' does not exist"):
        engine.resolver.resolve(target())


def test_every_change_gives_a_new_key(engine: Engine) -> None:
    keys = {engine.resolver.resolve(target()).key}
    engine.deploy(timeout=9)
    keys.add(engine.resolver.resolve(target()).key)
    engine.catalog.put(records.SERVICE, "", "s", Service(service_name="s", service_id="id", role="r"))
    keys.add(engine.resolver.resolve(target()).key)
    assert len(keys) == 3


def test_a_snapshot_names_the_package_of_its_function(engine: Engine) -> None:
    snapshot = engine.resolver.resolve(target())
    assert (snapshot.code, snapshot.code_checksum) == (PACKAGE.sha256, PACKAGE.checksum)
