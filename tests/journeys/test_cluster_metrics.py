"""Metrics of a cluster, at each of its nodes, as a scraper sees them before and after another node leads."""

import json
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from tests.journeys.conftest import FUNCTIONS, run, wait_until
from tests.support.nodes import PATIENCE_S, Node, running

RUNTIME = "python3"
LEADER, CALLS, STARTED = "sesame_cluster_leader_info", "sesame_calls_total", "process_start_time_seconds"


def scraped(node: Node) -> dict[str, tuple[float, dict[str, str]]]:
    """The last sample of each name."""
    url = json.loads((node.data_dir / "endpoints.json").read_text())["metrics"]
    text = requests.get(url, timeout=PATIENCE_S).text
    families = text_string_to_metric_families(text)
    return {sample.name: (sample.value, sample.labels) for family in families for sample in family.samples}


@pytest.mark.thorough
def test_every_node_shows_the_metrics_of_the_one_that_leads_and_names_it(tmp_path: Path) -> None:
    with running(tmp_path, "one", "two", runtime=RUNTIME, flags=("--metrics-port", "0")) as cluster:
        leader, [other] = cluster.leader(), cluster.others()
        client = other.client()
        client.create_service("counted")
        code = str(FUNCTIONS / "journey_hello")
        client.create_function("counted", "f", RUNTIME, "index.my_handler", codeDir=code, memorySize=128)
        for node in (leader, other):
            node.client().invoke_function("counted", "f", payload=b"x")
        wait_until(lambda: scraped(other).get(CALLS, (0, {}))[0] == 2, "the calls at both nodes", PATIENCE_S)
        before, same = scraped(leader), scraped(other)
        for name in (LEADER, CALLS, STARTED):
            assert before[name] == same[name]
        _one, labels = before[LEADER]
        assert labels["node"].startswith(f"{leader.name}-")
        assert int(labels["epoch"]) == cluster.epoch()
        assert "counted/f" in run(other, "top", "--once").stdout
        leader.power_off()
        del cluster.nodes[leader.name]
        wait_until(lambda: cluster.leader() is other, "the other node's lead", PATIENCE_S)
        wait_until(lambda: LEADER in scraped(other), "its metrics", PATIENCE_S)
        after = scraped(other)
        assert after[LEADER][1]["node"].startswith(f"{other.name}-")
        assert int(after[LEADER][1]["epoch"]) == cluster.epoch() > int(labels["epoch"])
        assert after[STARTED] != before[STARTED]
        assert CALLS not in after
        other.client().invoke_function("counted", "f", payload=b"x")
        wait_until(lambda: scraped(other).get(CALLS, (0, {}))[0] == 1, "a call that is counted anew", PATIENCE_S)
