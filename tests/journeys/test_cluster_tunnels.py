"""Every API at every node of a cluster, wherever its writer and a function's instances are; real processes."""

import concurrent.futures
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import fc2
import oss2
import pytest
import requests
from fc2.fc_exceptions import FcError
from tests.journeys.conftest import FUNCTIONS, KEY_ID, SECRET, run, wait_until
from tests.support.jails import jail_only
from tests.support.nodes import PATIENCE_S, Cluster, Node, running

RUNTIME = "python3"
HELLO, TIMES = str(FUNCTIONS / "journey_hello"), str(FUNCTIONS / "journey_times")
THREADS = 4


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with running(folder, "one", "two", runtime=RUNTIME, flags=("--network", "auto")) as made:
        made.leader()
        yield made


@pytest.fixture
def other(cluster: Cluster) -> Node:
    """The node without the writer."""
    return cluster.others()[0]


def endpoints(node: Node) -> dict[str, str]:
    read: dict[str, str] = json.loads((node.data_dir / "endpoints.json").read_text())
    return read


def bucket_of(node: Node, name: str) -> oss2.Bucket:
    return oss2.Bucket(oss2.Auth(KEY_ID, SECRET), endpoints(node)["oss"], name)


def test_the_api_answers_at_a_node_without_the_writer(other: Node, cluster: Cluster) -> None:
    client = other.client()
    client.create_service("everywhere")
    client.create_function("everywhere", "f", RUNTIME, "index.my_handler", codeDir=HELLO, memorySize=128)
    for node in (other, cluster.leader()):
        assert node.client().get_function("everywhere", "f").data["functionName"] == "f"
        assert node.client().invoke_function("everywhere", "f", payload=b"x").data
    assert "FC Invoke End" in wait_until(lambda: _lines(cluster.leader(), "everywhere/f"), "lines of the function")
    with pytest.raises(FcError) as missing:
        client.get_function("everywhere", "none")
    assert missing.value.status_code == 404


def test_a_function_with_a_cap_of_one_is_called_at_both_nodes_on_one_instance(cluster: Cluster, other: Node) -> None:
    client = cluster.leader().client()
    client.create_service("one-place")
    client.create_function("one-place", "f", RUNTIME, "index.my_handler", codeDir=TIMES, memorySize=128)
    client.put_on_demand_config("one-place", "LATEST", "f", 1)
    both = [cluster.leader().client(), other.client()]
    served = {
        both[number % 2].invoke_function("one-place", "f", payload=b"0").headers["X-Fc-Instance-Id"]
        for number in range(12)
    }
    assert len(served) == 1


@pytest.mark.parametrize("megabytes", [20, pytest.param(100, marks=pytest.mark.thorough)])
def test_large_objects_through_a_node_without_the_writer(cluster: Cluster, other: Node, megabytes: int) -> None:
    name = f"objects-of-{megabytes}-mb"
    bucket = bucket_of(other, name)
    bucket.create_bucket()
    content = bytes(range(256)) * (megabytes * 4096)
    bucket.put_object("large", content)
    for node in (other, cluster.leader()):
        read = hashlib.sha256()
        for piece in bucket_of(node, name).get_object("large"):
            read.update(piece)
        assert read.digest() == hashlib.sha256(content).digest()


def test_every_endpoint_of_the_writer_answers_at_every_node(cluster: Cluster, other: Node) -> None:
    leader = endpoints(cluster.leader())
    for name in ("oss", "sls", "sts"):
        expected, said = (requests.get(each[name], timeout=60) for each in (leader, endpoints(other)))
        assert said.status_code == expected.status_code, name
        assert said.headers["Content-Type"] == expected.headers["Content-Type"], name


def test_commands_reach_the_instances_of_every_node(cluster: Cluster, other: Node) -> None:
    client = other.client()
    client.create_service("commands")
    client.create_function("commands", "f", RUNTIME, "index.my_handler", codeDir=TIMES, memorySize=128)
    clients = [node.client() for node in cluster.nodes.values()] * THREADS

    def runs_at_other() -> bool:
        with concurrent.futures.ThreadPoolExecutor(len(clients)) as threads:
            list(threads.map(lambda each: each.invoke_function("commands", "f", payload=b"0.1"), clients))
        return bool(other.instances())

    wait_until(runs_at_other, "an instance on the node without the writer", PATIENCE_S)
    # Not from the writer's directory, which another machine would not have.
    assert any((other.data_dir / "follower" / "packages").glob("*/code/index.py"))
    instances = client.list_instances("commands", "LATEST", "f").data["instances"]
    assert instances
    for each in instances:
        for node in cluster.nodes.values():
            assert _echo(node.client(), each["instanceId"]) == "here\n"


@jail_only
def test_functions_of_every_node_reach_the_names_of_the_cloud_and_trust_who_answers(
    cluster: Cluster, other: Node, tmp_path: Path
) -> None:
    (tmp_path / "index.py").write_text(
        "import time, urllib.error, urllib.request\n"
        "def my_handler(event, context):\n"
        "    time.sleep(0.1)\n"
        "    try:\n"
        "        return urllib.request.urlopen(event.decode(), timeout=60).status\n"
        "    except urllib.error.HTTPError as error:\n"
        "        return error.code\n"
    )
    client = other.client()
    client.create_service("cloud")
    client.create_function("cloud", "f", RUNTIME, "index.my_handler", codeDir=str(tmp_path), memorySize=128, timeout=90)
    clients = [node.client() for node in cluster.nodes.values()] * THREADS
    answers: list[bytes] = []

    def runs_at_other() -> bool:
        before = len(other.instances())
        with concurrent.futures.ThreadPoolExecutor(len(clients)) as threads:
            urls = [b"http://oss-cn-shanghai.aliyuncs.com/", b"https://sts.aliyuncs.com/"] * THREADS
            done = threads.map(lambda one, url: one.invoke_function("cloud", "f", payload=url), clients, urls)
            answers.extend(each.data for each in done)
        return before > 0 or len(other.instances()) > 0

    wait_until(runs_at_other, "an instance on the node without the writer", PATIENCE_S)
    assert set(answers) <= {b"200", b"400", b"403", b"404", b"405"}, answers


def test_what_begins_while_no_writer_leads_waits_for_the_next(cluster: Cluster, other: Node) -> None:
    bucket_of(other, "meanwhile").create_bucket()
    epoch = cluster.epoch()
    cluster.leader().candidate().kill()
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        # On connections of their own: those from before have broken.
        put = threads.submit(bucket_of(other, "meanwhile").put_object, "a", b"kept")
        made = threads.submit(other.client().create_service, "meanwhile")
        assert put.result().status == 200
        assert made.result().data["serviceName"] == "meanwhile"
    assert cluster.epoch() > epoch
    for node in cluster.nodes.values():
        assert bucket_of(node, "meanwhile").get_object("a").read() == b"kept"
        assert node.client().get_service("meanwhile").data["serviceName"] == "meanwhile"


def _lines(node: Node, function: str) -> str:
    """What `sesame logs` prints at the node that leads, which has the lines of all; nothing until some are kept."""
    told = run(node, "logs", function, expect=None)
    assert "does not lead" not in told.stderr
    return told.stdout


def _echo(client: fc2.Client, instance: str) -> str:
    said: list[str] = []
    opened = client.instance_exec(
        "commands",
        "LATEST",
        "f",
        instance,
        params={"command": ["echo", "here"], "stdin": "false", "stdout": "true", "stderr": "true", "tty": "false"},
        hooks={"on_stdout": lambda _each, text: said.append(text)},
    )
    opened.ws.run_forever()
    return "".join(said)
