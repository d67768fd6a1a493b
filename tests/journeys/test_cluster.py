"""Nodes of a cluster, on one machine: each serves, caps hold over all, and one that is lost is replaced."""

import contextlib
import functools
import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import fc2
import psutil
import pytest
import requests
from aliyun.log import LogClient, LogItem, PutLogsRequest
from fc2.fc_exceptions import FcError
from tests.journeys.conftest import ACCOUNT_ID, FUNCTIONS, KEY_ID, SECRET, lives, wait_until
from tests.support import acs
from tests.support.nodes import PATIENCE_S, Cluster, Node, running
from tests.support.timed_calls import THREADS, Ran, require_cap, timed_calls

from sesame.cluster.keys import make_key
from sesame.store.logs.reader import LINE_BITS, LogLine, LogReader, Query

RUNTIME = "python3"
HELLO, TIMES = str(FUNCTIONS / "journey_hello"), str(FUNCTIONS / "journey_times")
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster"), *NAMES, runtime=RUNTIME) as cluster:
        yield cluster


def deployed(cluster: Cluster, service: str, folder: str, cap: int = 0) -> None:
    client = cluster.leader().client()
    client.create_service(service)
    client.create_function(service, "f", RUNTIME, "index.my_handler", codeDir=folder, memorySize=128)
    if cap:
        client.put_on_demand_config(service, "LATEST", "f", cap)


def test_an_edit_by_one_is_seen_by_all_from_the_moment_it_is_answered(cluster: Cluster, tmp_path: Path) -> None:
    deployed(cluster, "edited", HELLO)
    clients = [node.client() for node in cluster.nodes.values()]
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "index.py").write_text(f"def my_handler(event, context):\n    return 'state {number}'\n")
        clients[number % len(clients)].update_function("edited", "f", codeDir=str(folder))
        answers = [client.invoke_function("edited", "f").data for client in clients]
        assert answers == [f"state {number}".encode()] * len(clients)
    clients[0].delete_function("edited", "f")
    for client in clients:
        with pytest.raises(FcError) as missing:
            client.invoke_function("edited", "f")
        assert missing.value.status_code == 404


def ended(node: Node) -> str:
    """What a node said that does not start."""
    node.begin()
    process = psutil.Process(node.pid)
    try:
        wait_until(lambda: not lives(process), f"the end of node {node.name}", PATIENCE_S)
    finally:
        node.power_off()
    return node.said()


@pytest.mark.thorough
def test_a_node_with_other_settings_or_another_key_ends_and_says_why(cluster: Cluster, tmp_path: Path) -> None:
    leader, epoch = cluster.leader(), cluster.epoch()
    said = ended(cluster.another("d", "--account-id", "4711"))
    differs = f'account_id is "4711" on d-.* and "{ACCOUNT_ID}" on {leader.name}-.*'
    assert re.search(f"error: settings must be the same on every node: {differs}stop every node first", said), said
    wait_until(
        lambda: re.search(differs, leader.said().replace("\\", "")), "a line in the log of the writer", PATIENCE_S
    )
    make_key(tmp_path / "another.key")
    said = ended(cluster.another("e", "--cluster-key-file", str(tmp_path / "another.key")))
    assert "is that of a cluster with another key" in said
    assert cluster.epoch() == epoch, "the cluster goes on"


@pytest.mark.parametrize("cap", [pytest.param(1, marks=pytest.mark.torture), 3])
def test_a_cap_holds_over_all_nodes(cluster: Cluster, cap: int) -> None:
    deployed(cluster, f"cap-{cap}", TIMES, cap)
    clients = [node.client() for node in cluster.nodes.values()]
    require_cap(timed_calls(clients, f"cap-{cap}", 10 * THREADS), cap)


class Load:
    """Calls at some nodes, each on a connection of its own, until the end; what was answered is kept."""

    def __init__(self, nodes: list[Node], service: str) -> None:
        self._service = service
        self._over = threading.Event()
        self.ran: list[Ran] = []
        self.failed: list[Exception] = []
        self._threads = [threading.Thread(target=self._call, args=(node,)) for node in nodes for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def _call(self, node: Node) -> None:
        client = node.client()
        while not self._over.is_set():
            try:
                answer = client.invoke_function(self._service, "f", payload=b"0.2")
            except requests.ConnectionError:
                time.sleep(0.1)
            except FcError as error:
                # At its cap, or there is no writer for too long.
                if error.status_code != 429 and error.status_code < 500:
                    self.failed.append(error)
                time.sleep(0.1)
            else:
                began, ended = map(float, answer.data.decode().split())
                self.ran.append((answer.headers["X-Fc-Instance-Id"], began, ended))

    def goes_on(self) -> None:
        before = len(self.ran)
        wait_until(lambda: len(self.ran) > before + 5 or self.failed, "calls that are served", PATIENCE_S)

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


class Accepted:
    """Asynchronous calls: each that was accepted ends, and ends well."""

    def __init__(self, cluster: Cluster, service: str, cap: int = 2) -> None:
        self._cluster, self._service = cluster, service
        self.names: list[str] = []
        deployed(cluster, service, TIMES, cap)

    def some(self, node: Node, count: int) -> None:
        client = node.client()
        for _ in range(count):
            name = f"n{len(self.names)}"
            headers = {"x-fc-invocation-type": "Async", "x-fc-stateful-async-invocation-id": name}
            client.invoke_function(self._service, "f", payload=b"0.5", headers=headers)
            self.names.append(name)

    def end_well(self) -> None:
        def states() -> dict[str, str]:
            asked = f"SELECT invocation_id, state FROM async_invocations WHERE service = '{self._service}'"
            return dict(line.split("|") for line in self._cluster.sql(asked).splitlines())

        wait_until(lambda: set(states().values()) == {"Succeeded"}, "the end of all that was accepted", PATIENCE_S)
        assert states().keys() >= set(self.names)


def lost_and_replaced(cluster: Cluster, service: str, lose: Callable[[Node], None], survivors: list[Node]) -> None:
    """`lose` takes the node that leads: nothing that was accepted is lost, and no cap is exceeded."""
    leader, epoch = cluster.leader(), cluster.epoch()
    accepted = Accepted(cluster, f"{service}-async")
    deployed(cluster, service, TIMES, cap=1)
    load = Load(survivors, service)
    try:
        load.goes_on()
        accepted.some(leader, 6)
        lose(leader)
        wait_until(lambda: cluster.epoch() > epoch, "another epoch", PATIENCE_S)
        load.goes_on()
    finally:
        load.end()
    assert load.failed == []
    require_cap(load.ran, 1)
    accepted.end_well()


@pytest.mark.torture
def test_the_writers_process_is_killed(cluster: Cluster) -> None:
    leader = cluster.leader()

    def kill(node: Node) -> None:
        node.candidate().kill()

    lost_and_replaced(cluster, "process-killed", kill, [node for node in cluster.nodes.values() if node is not leader])
    wait_until(lambda: len(leader.agents()) == 2, "as many processes as before", PATIENCE_S)


@pytest.mark.torture
def test_a_writer_that_was_stopped_for_longer_than_its_life_writes_nothing_more(cluster: Cluster) -> None:
    leader = cluster.leader()
    stopped = leader.candidate()

    def stop(_node: Node) -> None:
        stopped.send_signal(signal.SIGSTOP)

    try:
        others = [node for node in cluster.nodes.values() if node is not leader]
        lost_and_replaced(cluster, "stopped", stop, others)
        # Its supervisor has ended it: a process that is stopped cannot end by itself.
        wait_until(lambda: not lives(stopped), "the end of the writer that was stopped", PATIENCE_S)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            stopped.send_signal(signal.SIGCONT)


def test_asynchronous_calls_run_on_every_node_and_none_is_lost_with_a_follower(cluster: Cluster) -> None:
    nodes = cluster.nodes.values()
    accepted = Accepted(cluster, "asynchronous", cap=0)
    before = {each for node in nodes for each in node.instances()}
    accepted.some(cluster.leader(), 40)
    wait_until(lambda: all(set(node.instances()) - before for node in nodes), "instances on every node", PATIENCE_S)
    cluster.others()[0].follower().kill()
    accepted.end_well()


@pytest.mark.thorough
def test_a_follower_is_killed(cluster: Cluster) -> None:
    node = cluster.others()[0]
    deployed(cluster, "follower-killed", TIMES, cap=1)
    load = Load(list(cluster.nodes.values()), "follower-killed")
    try:
        load.goes_on()
        node.follower().kill()
        load.goes_on()
        wait_until(lambda: len(node.agents()) == 2, "as many processes as before", PATIENCE_S)
    finally:
        load.end()
    assert load.failed == []
    require_cap(load.ran, 1)


@pytest.mark.torture
def test_a_whole_node_is_stopped_for_longer_than_its_life_and_goes_on(cluster: Cluster) -> None:
    leader = cluster.leader()
    try:
        others = [node for node in cluster.nodes.values() if node is not leader]
        lost_and_replaced(cluster, "node-stopped", Node.stop_all, others)
    finally:
        leader.go_on()
    # It is refused by the database, ends, and is a candidate again.
    client = leader.client()
    wait_until(lambda: _answers(client, "node-stopped"), "the node that was stopped", PATIENCE_S)
    assert cluster.leader() is not leader


def lines_of(node: Node, request_id: str) -> list[LogLine]:
    return LogReader(node.data_dir / "logs.db").read(Query(request_id=request_id))


def logged_call(cluster: Cluster, node: Node, service: str) -> tuple[str, list[str]]:
    """The request id of a call, and its lines, which are in the bucket by now."""
    deployed(cluster, service, TIMES)
    request_id = node.client().invoke_function(service, "f", payload=b"0.05").headers["X-Fc-Request-Id"]
    leader = cluster.leader()
    wait_until(lambda: len(lines_of(leader, request_id)) >= 2, "the lines of a call", PATIENCE_S)
    lines = lines_of(leader, request_id)
    asked = f"SELECT count(*) FROM log_segments WHERE end_id > {lines[-1].id >> LINE_BITS}"
    wait_until(lambda: cluster.sql(asked) != "0", "a segment with these lines", PATIENCE_S)
    return request_id, [line.text for line in lines]


@contextlib.contextmanager
def log_client(node: Node) -> Iterator[LogClient]:
    """Of the Log Service of a node, as long as the block lasts: others would take its proxy too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("http_proxy", json.loads((node.data_dir / "endpoints.json").read_text())["sls"])
        yield LogClient("127.0.0.1:80", KEY_ID, SECRET)


def put_logs(cluster: Cluster, node: Node, numbers: Sequence[int]) -> None:
    """In a logstore that is new, in the bucket by now."""
    with log_client(node) as client:
        client.create_project("shop", "")
        client.create_logstore("shop", "orders", ttl=7, shard_count=1)
        for number in numbers:
            item = LogItem(int(time.time()), contents=[("number", str(number))])
            client.put_logs(PutLogsRequest("shop", "orders", "", "", [item]))
    # All of them are brought together, or in several segments one after the other.
    wait_until(lambda: cluster.sql("SELECT count(*) FROM group_segments") != "0", "logs in the bucket", PATIENCE_S)


def pulled(node: Node) -> list[str]:
    with log_client(node) as client:
        cursor = client.get_begin_cursor("shop", "orders", 0).get_cursor()
        return [each["number"] for each in client.pull_logs("shop", "orders", 0, cursor).get_flatten_logs_json()]


def signed_call(service: str) -> tuple[str, dict[str, str]]:
    """A path, and headers with a nonce that are good for one call, at whatever node."""
    path = f"/2021-04-06/services/{service}/functions/f/invocations"
    headers = {"host": "cluster", "x-acs-signature-nonce": f"nonce-{time.time()}", "x-acs-version": "2021-04-06"}
    names = (*acs.SIGNED, "x-acs-signature-nonce")
    return path, acs.signed("POST", path, headers, b"0.05", keys=(KEY_ID, SECRET), at=time.time(), names=names)


@pytest.mark.thorough
def test_a_whole_node_is_killed_and_comes_back(cluster: Cluster) -> None:
    leader = cluster.leader()
    others = [node for node in cluster.nodes.values() if node is not leader]
    calls = [logged_call(cluster, node, f"logged-{number}") for number, node in enumerate((leader, others[0]))]
    put_logs(cluster, others[0], [1])
    path, headers = signed_call("logged-0")
    assert requests.post(leader.endpoint + path, b"0.05", headers=headers, timeout=60).status_code == 200
    wait_until(lambda: cluster.sql("SELECT count(*) FROM used_nonces") != "0", "nonces in the database", PATIENCE_S)
    lost_and_replaced(cluster, "node-killed", Node.power_off, others)
    assert pulled(others[1]) == ["1"]
    again = requests.post(others[0].endpoint + path, b"0.05", headers=headers, timeout=60)
    assert (again.status_code, "SignatureNonceUsed" in again.text) == (400, True)
    # What was logged before is read where the writer is now.
    after = cluster.leader()
    for request_id, texts in calls:
        wait_until(functools.partial(lines_of, after, request_id), "lines from before", PATIENCE_S)
        assert [line.text for line in lines_of(after, request_id)] == texts
    leader.start()
    assert _answers(leader.client(), "node-killed")
    assert cluster.leader() is not leader


def _answers(client: fc2.Client, service: str) -> bool:
    try:
        return bool(client.invoke_function(service, "f", payload=b"0.05").data)
    except (FcError, requests.ConnectionError):
        return False
