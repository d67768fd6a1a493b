"""The way out of an instance's network: all of TCP and UDP gets out, and nothing reaches what is this machine's own.

Each attack fails with the rules, and succeeds when they let everything pass.
"""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from tests.runtime.conftest import Actor, Stage
from tests.security.grades import GRADES
from tests.support.jails import ISOLATION, jail, jail_only
from tests.support.outside import HAS_6, Outside, needs_outside, outside

from sesame._network import OwnNetworks, offer_network
from sesame.inside.bounds import for_descriptors
from sesame.model.fair_rate import FairRate
from sesame.sandbox.jail.driver import JailDriver
from sesame.sandbox.network import HOST_ADDRESS, INSTANCE_ADDRESS, HostAnswers
from sesame.settings import Settings

pytestmark = [
    jail_only,
    needs_outside,
    pytest.mark.skipif(not ISOLATION.leads_out, reason=f"this kernel has no way out: {ISOLATION.no_way_out}"),
    pytest.mark.asyncio(loop_scope="module"),
]

BOTH = ("tcp", "udp")
# So long an attack waits for an answer that must not come: a slow machine only makes the test pass sooner.
SILENCE_S = 0.3


@pytest.fixture(scope="module")
def beyond() -> Iterator[Outside]:
    with outside() as made:
        yield made


@pytest.fixture(scope="module", params=["python2.7", "python3.12"])
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def answers_of(kind: str, *allowed: str) -> HostAnswers:
    """`kind` host lets networks of their own reach everything, as custom runtimes on the host's network do."""
    answers = HostAnswers()
    networks = OwnNetworks(kind, ISOLATION.leads_out, lambda: HAS_6)
    offer_network(
        answers, Settings(network_allow=allowed, cloud_names="off"), networks, for_descriptors(FairRate(), 2048), {}
    )
    answers.offered()
    return answers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(tmp_path_factory: pytest.TempPathFactory, grade: str) -> AsyncIterator[JailDriver]:
    made = jail(tmp_path_factory.mktemp("jail"), network="egress", answers=answers_of("egress"), **GRADES[grade])
    async with made as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def without_rules(tmp_path_factory: pytest.TempPathFactory, grade: str) -> AsyncIterator[JailDriver]:
    made = jail(tmp_path_factory.mktemp("jail"), network="egress", answers=answers_of("host"), **GRADES[grade])
    async with made as opened:
        yield opened


async def talk(actor: Actor, by: str, host: str, port: int, **more: Any) -> dict[str, str]:
    told = await actor.json(json.dumps({"by": by, "host": host, "port": port, **more}).encode())
    assert isinstance(told, dict)
    return told


async def test_everything_gets_out(stage: Stage, beyond: Outside) -> None:
    actor = await stage.start("network", "index.talk")
    for by in BOTH:
        for host in beyond.public:
            told = await talk(actor, by, host, getattr(beyond.there, by))
            assert told.get("said") == "there hello", (by, host, told)
            if ":" not in host:
                assert told["own"] == INSTANCE_ADDRESS


async def test_without_internet_access_nothing_gets_out(stage: Stage, beyond: Outside) -> None:
    actor = await stage.start("network", "index.talk", internet=False)
    for by in BOTH:
        for host in beyond.public:
            told = await talk(actor, by, host, getattr(beyond.there, by), within_s=SILENCE_S)
            assert "error" in told, (by, host, told)
    assert "reset" in (await talk(actor, "tcp", beyond.public[0], beyond.there.tcp))["error"]


async def test_datagrams_of_any_size_get_out(stage: Stage, beyond: Outside) -> None:
    actor = await stage.start("network", "index.talk")
    for host in beyond.public:
        # The last ones are cut into fragments on their way.
        for size in (1, 1400, 9000, 60_001):
            said = "x" * size
            told = await talk(actor, "udp", host, beyond.there.udp, say=said)
            assert told.get("said") == f"there {said}", (host, size, str(told)[:100])


async def test_whoever_does_not_listen_there_resets(stage: Stage, beyond: Outside) -> None:
    actor = await stage.start("network", "index.talk")
    told = await talk(actor, "tcp", beyond.public[0], 1)
    assert "reset" in told["error"]


def own_and_private(beyond: Outside) -> list[tuple[str, str, int]]:
    """By what, where and at which port there is something that functions may not reach."""
    targets = [(host, beyond.here) for host in beyond.here.addresses]
    targets += [(beyond.private, beyond.there), (beyond.link_local, beyond.there)]
    targets += [(f"::ffff:{beyond.here.addresses[0]}", beyond.here), (f"::ffff:{beyond.private}", beyond.there)]
    return [(by, host, getattr(machine, by)) for host, machine in targets for by in BOTH]


async def test_what_is_this_machines_own_is_not_reached(stage: Stage, beyond: Outside) -> None:
    actor = await stage.start("network", "index.talk")
    for by, host, port in own_and_private(beyond):
        told = await talk(actor, by, host, port, within_s=SILENCE_S)
        assert "error" in told, (by, host, told)
    # What is refused whatever this machine has is told at once.
    assert "Permission denied" in (await talk(actor, "tcp", beyond.private, beyond.there.tcp))["error"]
    assert "Permission denied" in (await talk(actor, "tcp", "169.254.169.254", 80))["error"]


async def test_it_is_reached_without_the_rules(without_rules: JailDriver, runtime: str, beyond: Outside) -> None:
    stage = Stage(without_rules, runtime)
    actor = await stage.start("network", "index.talk")
    for by, host, port in own_and_private(beyond):
        told = await talk(actor, by, host, port)
        assert told.get("said", "").endswith(" hello"), (by, host, told)
    await stage.clear()


async def test_no_instance_reaches_another(stage: Stage) -> None:
    other = await stage.start("network", "index.listen")
    assert await other.json(b'{"host": "0.0.0.0", "port": 9000}') == 9000
    actor = await stage.start("network", "index.talk")
    for host in (INSTANCE_ADDRESS, HOST_ADDRESS, "127.0.0.1"):
        assert "refused" in (await talk(actor, "tcp", host, 9000))["error"]


async def test_a_source_that_is_not_the_instances_gets_nowhere(stage: Stage, beyond: Outside) -> None:
    actor = await stage.start("network", "index.talk")
    host = beyond.public[0]
    for by in BOTH:
        for source in (beyond.here.addresses[0], "203.0.113.77"):
            told = await talk(actor, by, host, getattr(beyond.there, by), source=source, within_s=SILENCE_S)
            assert "error" in told, (by, source, told)
        # The instance's own does.
        told = await talk(actor, by, host, getattr(beyond.there, by), source=INSTANCE_ADDRESS)
        assert told.get("said") == "there hello"


async def test_what_is_allowed_is_reached(
    tmp_path_factory: pytest.TempPathFactory, runtime: str, grade: str, beyond: Outside
) -> None:
    private = beyond.private.rpartition(".")[0] + ".0/24"
    answers = answers_of("egress", private, f"{beyond.here.addresses[0]}:{beyond.here.tcp}")
    async with jail(tmp_path_factory.mktemp("jail"), network="egress", answers=answers, **GRADES[grade]) as driver:
        stage = Stage(driver, runtime)
        actor = await stage.start("network", "index.talk")
        for by in BOTH:
            assert (await talk(actor, by, beyond.private, getattr(beyond.there, by)))["said"] == "there hello"
        here = beyond.here
        assert (await talk(actor, "tcp", here.addresses[0], here.tcp))["said"] == "here hello"
        assert "error" in await talk(actor, "udp", here.addresses[0], here.udp, within_s=SILENCE_S)
        await stage.clear()
