"""Instances take no more descriptors than admission counts for them, and connections leave room for them.

Run by pytest.
"""

import resource
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.http.harness import Endpoint
from tests.runtime.conftest import Stage
from tests.support import open_files
from tests.support.jails import jail, jail_only

from sesame._cloud import HTTP_PORT, HTTPS_PORT
from sesame._listening import SHARES_OF_DESCRIPTORS
from sesame._network import OwnNetworks, listens_max, offer_endpoint, offer_network
from sesame.http.interface import Exchange
from sesame.http.limits import CONNECTIONS_SHARE, for_host
from sesame.http.server import HttpServer
from sesame.inside.bounds import for_descriptors
from sesame.model.fair_rate import FairRate
from sesame.sandbox import descriptors
from sesame.sandbox.network import EVERY_ADDRESS, HOST_ADDRESS, HostAnswers, Listen
from sesame.settings import Settings

INSTANCES = 6


async def unheard(_exchange: Exchange) -> None:
    """Nobody calls it here."""


def hold(listening: socket.socket, _client: str) -> Callable[[], None]:
    return listening.close


@pytest.mark.parametrize("limit", [256, 1024, 4096, 20_000, descriptors.WITHOUT_LIMIT])
def test_connections_and_instances_share_what_there_is(limit: int) -> None:
    connections = for_host(limit, 8 << 30, SHARES_OF_DESCRIPTORS).connections * SHARES_OF_DESCRIPTORS
    instances = descriptors.instances_max(limit, 20) * 20
    assert CONNECTIONS_SHARE + descriptors.INSTANCES_SHARE <= 1
    assert connections + instances <= limit
    if limit >= 4 * descriptors.RESERVED:
        assert connections + instances + descriptors.RESERVED <= limit


def test_without_a_limit_there_is_a_bound_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _which: infinite)
    assert descriptors.of_process() == descriptors.WITHOUT_LIMIT
    assert descriptors.of_server() == descriptors.OPEN_MAX
    assert descriptors.instances_max(64, 20) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
@pytest.mark.parametrize("leads_out", [frozenset(), frozenset({4, 6})])
async def test_no_more_sockets_are_offered_than_are_counted(host: str, leads_out: frozenset[int]) -> None:
    settings = Settings(network_allow=("127.0.0.1:5432", "10.0.0.1:6379", "10.1.0.0/16"))
    answers = HostAnswers()
    for port in (9000, 9001, 9002, 9003, 9443):
        offer_endpoint(answers, HttpServer(Endpoint(unheard), host=host, port=port))
    networks = OwnNetworks("egress", leads_out, lambda: True)
    offer_network(answers, settings, networks, for_descriptors(FairRate(), 2048), {})
    for port in (HTTP_PORT, HTTPS_PORT):
        answers.offer(Listen("tcp", HOST_ADDRESS, port), hold)
    answers.offered()
    assert len((await answers.inside()).listens) <= listens_max(settings)


@jail_only
@pytest.mark.asyncio
@pytest.mark.parametrize("network", ["host", "none"])
async def test_an_instance_takes_no_more_than_is_counted(tmp_path: Path, network: str) -> None:
    answers = HostAnswers()
    for port in range(9001, 9006):
        answers.offer(Listen("tcp", EVERY_ADDRESS, port), hold)
    answers.offered()
    async with jail(tmp_path, network=network, answers=answers, ready_prewarmed=0, ready_resources=1) as driver:
        stage = Stage(driver, "python3.12")
        await stage.start("hello", instance_id="c-first")
        await driver.settled()
        before = len(open_files.descriptors())
        for number in range(INSTANCES):
            await stage.start("hello", instance_id=f"c-{number}")
        await driver.settled()
        taken = len(open_files.descriptors()) - before
        counted = driver.descriptors(5)
        await stage.clear()
    assert taken <= INSTANCES * counted
