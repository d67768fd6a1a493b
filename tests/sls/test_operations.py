"""Every operation through the official client, unmodified: it reaches the endpoint as its proxy."""

import time
from typing import Any

import pytest
from aliyun.log import (
    GetHistogramsRequest,
    GetProjectLogsRequest,
    IndexConfig,
    IndexKeyConfig,
    IndexLineConfig,
    ListTopicsRequest,
    LogClient,
    LogException,
    LogItem,
    PutLogsRequest,
)
from aliyun.log.index_config import IndexJsonKeyConfig
from tests.sls.conftest import ACCOUNT, REGION, RunningEndpoint, client

from sesame.model.errors import TooMany
from sesame.model.logstore import CONSUMER_GROUP
from sesame.sls.errors import as_sls_error

Logstore = tuple[str, str]


def put(sdk: LogClient, logstore: Logstore, *messages: str, topic: str = "", **options: Any) -> None:
    items = [LogItem(int(time.time()), contents=[("message", message)]) for message in messages]
    sdk.put_logs(PutLogsRequest(*logstore, topic, "", items, **options))


def lately() -> tuple[int, int]:
    now = int(time.time())
    return now - 600, now + 60


def code_of(call: object, *arguments: object, **options: object) -> str:
    with pytest.raises(LogException) as refused:
        call(*arguments, **options)  # type: ignore[operator]
    return str(refused.value.get_error_code())


def test_projects(root: LogClient) -> None:
    root.create_project("big-game", "a game")
    assert code_of(root.create_project, "big-game", "again") == "ProjectAlreadyExist"
    root.update_project("big-game", "the game")
    found = root.get_project("big-game")
    assert (found.get_description(), found.get_owner(), found.get_region()) == ("the game", ACCOUNT, REGION)
    assert found.get_create_time().count(":") == 2
    listed = root.list_project(project_name_pattern="game")
    assert [each["projectName"] for each in listed.get_projects()] == ["big-game"]
    assert root.list_project(offset=1).get_count() == 0
    root.delete_project("big-game")
    assert code_of(root.get_project, "big-game") == "ProjectNotExist"


def test_a_project_is_refused_by_its_name(root: LogClient) -> None:
    assert code_of(root.create_project, "a", "") == "ParameterInvalid"


def test_logstores(root: LogClient, logstore: Logstore) -> None:
    project, name = logstore
    assert code_of(root.create_logstore, project, name) == "LogStoreAlreadyExist"
    root.update_logstore(project, name, ttl=9, enable_tracking=True)
    found: Any = root.get_logstore(project, name)
    assert (found.get_ttl(), found.get_shard_count(), found.get_enable_tracking()) == (9, 2, True)
    assert (found.auto_split, found.max_split_shard, found.append_meta) == (True, 64, False)
    assert root.list_logstore(project, "app").get_logstores() == [name]
    assert root.list_logstore(project, "other").get_total() == 0
    shards = root.list_shards(project, name).get_shards_info()
    assert [(each["shardID"], each["status"]) for each in shards] == [(0, "readwrite"), (1, "readwrite")]
    root.delete_logstore(project, name)
    assert code_of(root.get_logstore, project, name) == "LogStoreNotExist"


@pytest.mark.parametrize(
    "options",
    [{"ttl": 0}, {"shard_count": 11}, {"encrypt_conf": {"enable": True}}, {"telemetry_type": "Metrics"}, {"mode": "x"}],
    ids=str,
)
def test_a_logstore_that_cannot_be_kept_is_refused(
    root: LogClient, logstore: Logstore, options: dict[str, object]
) -> None:
    assert code_of(root.create_logstore, logstore[0], "other", **options) == "LogStoreInfoInvalid"


def test_indexes(root: LogClient, logstore: Logstore) -> None:
    root.delete_index(*logstore)
    assert code_of(root.get_index_config, *logstore) == "IndexConfigNotExist"
    leaves = IndexJsonKeyConfig(index_all=True, max_depth=3)
    leaves.add_key("a.b", "long", doc_value=True, alias="ab")
    keys = {
        "status": IndexKeyConfig(index_type="long", doc_value=True, alias="code"),
        "method": IndexKeyConfig([",", " "], case_sensitive=True, doc_value=True, chinese=True),
        "body": IndexKeyConfig([","], index_type="json", json_key_config=leaves),
    }
    sent = IndexConfig(line_config=IndexLineConfig([" ", "\n"], chinese=True), key_config_list=keys)
    root.create_index(*logstore, sent)
    assert code_of(root.create_index, *logstore, sent) == "IndexAlreadyExist"
    found = root.get_index_config(*logstore).get_index_config()
    assert (found.line_config.token_list, found.line_config.chn) == ([" ", "\n"], True)
    assert found.key_config_list["status"].to_json() == {"type": "long", "doc_value": True, "alias": "code"}
    assert found.key_config_list["method"].token_list == [",", " "]
    assert found.key_config_list["method"].chn is True
    assert found.key_config_list["body"].json_key_config.json_keys["a.b"]["alias"] == "ab"
    # What was left open stays so: the official client for Node.js compares.
    assert found.key_config_list["body"].to_json() == keys["body"].to_json()
    root.update_index(*logstore, found)
    root.delete_index(*logstore)
    assert code_of(root.delete_index, *logstore) == "IndexConfigNotExist"
    assert code_of(root.create_index, *logstore, IndexConfig()) == "IndexInfoInvalid"


@pytest.mark.parametrize("compress", [True, False])
def test_logs_are_written_and_pulled(root: LogClient, logstore: Logstore, compress: bool) -> None:
    tags = [("host", "h-1")]
    put(root, logstore, "one", "zwei ü", topic="t", compress=compress, logtags=tags, hashKey="0" * 32)
    cursor = root.get_begin_cursor(*logstore, 0).get_cursor()
    pulled = root.pull_logs(*logstore, 0, cursor, compress=compress)
    assert pulled.get_loggroup_count() == 1
    assert [each["message"] for each in pulled.get_flatten_logs_json()] == ["one", "zwei ü"]
    first = pulled.get_flatten_logs_json()[0]
    assert (first["__topic__"], first["__source__"], first["__tag__:host"]) == ("t", "192.0.2.1", "h-1")
    assert pulled.get_next_cursor() == root.get_end_cursor(*logstore, 0).get_cursor()
    assert root.pull_logs(*logstore, 0, pulled.get_next_cursor()).get_loggroup_count() == 0
    assert abs(root.get_cursor_time(*logstore, 0, cursor).get_cursor_time() - time.time()) < 600
    assert root.get_previous_cursor_time(*logstore, 0, pulled.get_next_cursor()).get_cursor_time() > 0


def test_a_hash_key_chooses_the_shard(root: LogClient, logstore: Logstore) -> None:
    put(root, logstore, "last", hashKey="f" * 32)
    assert root.pull_logs(*logstore, 1, root.get_begin_cursor(*logstore, 1).get_cursor()).get_log_count() == 1
    with pytest.raises(LogException, match="32 hexadecimal digits"):
        put(root, logstore, "lost", hashKey="xyz")


def test_shards_are_split_merged_and_read_to_their_ends(root: LogClient, logstore: Logstore) -> None:
    put(root, logstore, "before", hashKey="0" * 32)
    split = root.split_shard(*logstore, 0, "4" + "0" * 31).get_shards_info()
    assert [(each["shardID"], each["status"]) for each in split] == [
        (0, "readonly"),
        (2, "readwrite"),
        (3, "readwrite"),
    ]
    put(root, logstore, "after", hashKey="4" + "0" * 31)
    merged = root.merge_shard(*logstore, 2).get_shards_info()
    assert [(each["shardID"], each["status"]) for each in merged] == [
        (4, "readwrite"),
        (3, "readonly"),
        (2, "readonly"),
    ]
    assert (merged[0]["inclusiveBeginKey"], merged[0]["exclusiveEndKey"]) == ("0" * 32, "8" + "0" * 31)
    put(root, logstore, "last", hashKey="1" * 32)
    assert [each["status"] for each in root.list_shards(*logstore).shards] == [
        "readonly", "readwrite", "readonly", "readonly", "readwrite",
    ]  # fmt: skip
    read = {}
    for shard in range(5):
        cursor = root.get_begin_cursor(*logstore, shard).get_cursor()
        pulled = root.pull_logs(*logstore, shard, cursor)
        read[shard] = [each["message"] for each in pulled.get_flatten_logs_json()]
    assert read == {0: ["before"], 1: [], 2: [], 3: ["after"], 4: ["last"]}
    assert root.get_logstore(*logstore).get_shard_count() == 2
    root.arrange_shard(*logstore, 4)
    assert root.get_logstore(*logstore).get_shard_count() == 4
    assert code_of(root.split_shard, *logstore, 0, "4" + "0" * 31) == "ParameterInvalid"
    assert code_of(root.split_shard, *logstore, 1, "no key") == "ParameterInvalid"
    assert code_of(root.merge_shard, *logstore, 99) == "ShardNotExist"


@pytest.mark.parametrize("version", [1, 2])
def test_logs_are_found_by_both_versions_of_get_logs(root: LogClient, logstore: Logstore, version: int) -> None:
    sdk = root if version == 2 else first_version()
    put(root, logstore, "good one", "good two", topic="Thema ü")
    put(root, logstore, "bad")
    found = sdk.get_log(*logstore, *lately(), query="good")
    assert [each.contents["message"] for each in found.get_logs()] == ["good one", "good two"]
    assert (found.is_completed(), found.get_count(), found.get_has_sql()) == (True, 2, False)
    assert (found.get_where_query(), found.get_agg_query()) == ("good", "")
    assert (found.get_processed_rows() >= 2, found.get_query_mode().value) == (True, 0)
    last = sdk.get_log(*logstore, *lately(), topic="Thema ü", reverse=True, size=1).get_logs()
    assert [each.contents["message"] for each in last] == ["good two"]
    counted = sdk.get_log(*logstore, *lately(), query="* | select count(*) as n")
    assert (counted.get_has_sql(), counted.get_logs()[0].contents) == (True, {"n": "3"})
    assert code_of(sdk.get_log, *logstore, *lately(), query="good and (") == "InvalidQueryString"
    assert code_of(sdk.get_log, *logstore, *lately(), query="* | select unheard") == "ParameterInvalid"
    assert code_of(sdk.get_log, *logstore, *lately(), query="* | select 1", offset=5) == "ParameterInvalid"
    assert code_of(sdk.get_log, *logstore, 5, 5) == "InvalidTimeRange"


def first_version() -> LogClient:
    """A client of the time before the second version of GetLogs."""
    sdk = client()
    setattr(sdk, "_get_logs_v2_enabled", False)  # noqa: B010
    return sdk


def test_histograms_and_topics(root: LogClient, logstore: Logstore) -> None:
    put(root, logstore, "one", "two", "three", topic="a")
    put(root, logstore, "four", topic="b")
    histogram = root.get_histograms(GetHistogramsRequest(*logstore, *lately(), "", "*"))
    assert (histogram.is_completed(), histogram.get_total_count()) == (True, 4)
    topics = root.list_topics(ListTopicsRequest(*logstore, None, 1))
    assert (topics.get_topics(), topics.get_next_token()) == (["a"], "a")
    topics = root.list_topics(ListTopicsRequest(*logstore, topics.get_next_token(), 1))
    assert (topics.get_topics(), topics.get_next_token()) == (["b"], "")


def test_contexts(root: LogClient, logstore: Logstore) -> None:
    put(root, logstore, "one", "two", "three", "four")
    row = root.get_log(*logstore, *lately(), query="two | with_pack_meta").get_logs()[0].contents
    pack = (row["__tag__:__pack_id__"], row["__pack_meta__"])
    context = root.get_context_logs(*logstore, *pack, 5, 5)
    assert context.is_completed()
    assert (context.get_back_lines(), context.get_forward_lines(), context.get_total_lines()) == (1, 2, 4)
    found = [(each.contents["__index_number__"], each.contents["message"]) for each in context.get_logs()]
    assert found == [("-1", "one"), ("0", "two"), ("1", "three"), ("2", "four")]
    assert code_of(root.get_context_logs, *logstore, "other", "meta", 5, 5) == "InvalidParameter"
    assert code_of(root.get_context_logs, *logstore, *pack, 0, 0) == "InvalidParameter"


def test_sql_over_a_project_names_its_logstore(root: LogClient, logstore: Logstore) -> None:
    put(root, logstore, "one")
    sql = 'SELECT message FROM "app-log" WHERE __time__ > 1'
    assert root.get_project_logs(GetProjectLogsRequest(logstore[0], sql)).get_count() == 1
    for wrong in ("SELECT 1", "SELECT 1 FROM a, b", "SELEC", "SELECT " + "(" * 5000):
        assert code_of(root.get_project_logs, GetProjectLogsRequest(logstore[0], wrong)) == "ParameterInvalid"


def test_too_many_consumer_groups_have_the_code_of_the_api() -> None:
    refused = as_sls_error(TooMany(CONSUMER_GROUP, 30, 31))
    assert (refused.status, refused.code) == (403, "ConsumerGroupQuotaExceed")
    assert "at most 30 consumer groups" in str(refused)


def test_consumer_groups(root: LogClient, logstore: Logstore) -> None:
    root.create_consumer_group(*logstore, "readers", 30, in_order=True)
    assert code_of(root.create_consumer_group, *logstore, "readers", 30) == "ConsumerGroupAlreadyExist"
    root.update_consumer_group(*logstore, "readers", timeout=60)
    found = root.list_consumer_group(*logstore).get_consumer_groups()
    assert [(each.get_consumer_group_name(), each.get_timeout(), each.is_in_order()) for each in found] == [
        ("readers", 60, True)
    ]
    assert root.heart_beat(*logstore, "readers", "c-1", []).get_shards() == [0, 1]
    put(root, logstore, "one")
    end = root.get_end_cursor(*logstore, 0).get_cursor()
    root.update_check_point(*logstore, "readers", 0, end, consumer="c-1")
    points = root.get_check_point(*logstore, "readers").get_consumer_group_check_points()
    assert [(each["shard"], each["checkpoint"], each["consumer"]) for each in points] == [(0, end, "c-1"), (1, "", "")]
    assert len(root.get_check_point(*logstore, "readers", 1).get_consumer_group_check_points()) == 1
    assert code_of(root.update_check_point, *logstore, "readers", 0, "no cursor") == "InvalidShardCheckPoint"
    root.delete_consumer_group(*logstore, "readers")
    assert code_of(root.heart_beat, *logstore, "readers", "c-1") == "ConsumerGroupNotExist"


@pytest.mark.parametrize(
    "name",
    ["list_external_store", "list_dashboard", "get_substore_ttl", "get_logstore_metering_mode"],
)
def test_what_is_not_served_is_refused_at_once(root: LogClient, logstore: Logstore, name: str) -> None:
    arguments = ("big-game",) if name in ("list_external_store", "list_dashboard") else logstore
    assert code_of(getattr(root, name), *arguments) == "NotSupported"


def test_append_meta_adds_the_senders_address(root: LogClient, endpoint: RunningEndpoint, logstore: Logstore) -> None:
    root.update_logstore(*logstore, append_meta=True)
    put(root, logstore, "one")
    row = root.get_log(*logstore, *lately()).get_logs()[0].contents
    assert row["__tag__:__client_ip__"] == "127.0.0.1"
    assert abs(int(row["__tag__:__receive_time__"]) - endpoint.clock()) < 600


@pytest.mark.parametrize("age_s", [8 * 86400, -3600])
def test_logs_of_another_time_are_refused(root: LogClient, logstore: Logstore, age_s: int) -> None:
    item = LogItem(int(time.time()) - age_s, contents=[("message", "m")])
    with pytest.raises(LogException, match="The post data time is out of range") as refused:
        root.put_logs(PutLogsRequest(*logstore, "", "", [item]))
    assert refused.value.get_error_code() == "PostBodyInvalid"
