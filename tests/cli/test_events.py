"""`sesame events`: every source has a sample, options go into it, and what is wrong with them is said.

Run by pytest. Needs no server.
"""

import json

import cbor2
import pytest
from click.testing import CliRunner, Result

from sesame.cli.events import events

SOURCES = ("timer", "oss", "log", "mns", "cdn", "tablestore", "apigateway", "eventbridge")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(events, arguments)


def test_every_source_has_a_sample() -> None:
    assert set(events.commands) == set(SOURCES)
    for source in SOURCES:
        done = run(source)
        assert done.exit_code == 0, done.output
        assert cbor2.loads(done.stdout_bytes) if source == "tablestore" else json.loads(done.stdout_bytes)


def test_options_go_into_the_event() -> None:
    timer = run("timer", "--name", "n", "--payload", "ä\n", "--at", "2027-01-15T10:00:00Z").stdout_bytes
    assert json.loads(timer) == {"triggerTime": "2027-01-15T10:00:00Z", "triggerName": "n", "payload": "ä\n"}
    oss = ("oss", "--bucket", "photos", "--key", "a b.jpg", "--event", "ObjectRemoved:DeleteObject")
    (event,) = json.loads(run(*oss, "--region", "cn-beijing", "--account-id", "7").stdout_bytes)["events"]
    assert event["oss"]["bucket"]["arn"] == "acs:oss:cn-beijing:7:photos"
    assert (event["oss"]["object"]["key"], event["eventName"]) == ("a b.jpg", "ObjectRemoved:DeleteObject")
    assert json.loads(run("log", "--parameter", '{"a": 1}').stdout_bytes)["parameter"] == {"a": 1}
    assert run("mns", "--message", "hello", "--stream").stdout_bytes == b"hello"
    assert json.loads(run("eventbridge", "--source", "MNS", "--data", "[1]").stdout_bytes)[0]["data"] == [1]
    assert json.loads(run("apigateway", "--method", "POST", "--body", "x").stdout_bytes)["httpMethod"] == "POST"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("timer", "--at", "tomorrow"), "2020-10-10T10:10:10Z"),
        (("log", "--parameter", "[]"), "--parameter: no JSON of the expected form"),
        (("eventbridge", "--data", "{"), "--data: no JSON"),
        (("oss", "--event", "Nothing"), "ObjectCreated:PutObject"),
        (("telegram",), "No such command"),
    ],
)
def test_what_is_wrong_is_said(arguments: tuple[str, ...], says: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert says in done.output
