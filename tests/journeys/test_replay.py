"""Calls are recorded, run again and compared under other runtimes, as a user types it, against a real Sesame."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.journeys.conftest import RUNTIMES, Sesame
from tests.support import command_line

Command = Callable[..., command_line.Done]

DIVIDES = """
import base64
import json
import os

def handler(event, context):
    order = json.loads(event)
    print("dividing with " + os.environ["PASSWORD"])
    return json.dumps({"half": order["n"] / 2, "request": context.request_id})
"""
OLD_CODE = """# -*- coding: utf-8 -*-
import late
def handler(event, context):
    return late.half(event)
"""
OLD_MODULE = "import json\n\ndef half(event):\n    return json.dumps(json.loads(event)['n'] / 2)\n"
BROKEN = "def never():\n    print 'only Python 2 reads this'\n"
WARNS = 'PATTERN = "\\d"\n'
PASSWORD = "correct horse battery"

OLD, NEW = RUNTIMES[0], RUNTIMES[-1]
needs_both = pytest.mark.skipif(bool(OLD.marks or NEW.marks), reason="no interpreter for python2.7 or python3.12")


@pytest.fixture(scope="module")
def sesame(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    server = Sesame(tmp_path_factory.mktemp("replay"), runtime=("python2.7", "python3.12"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def run(sesame: Sesame) -> Command:
    def run(*arguments: object, expect: int = 0) -> command_line.Done:
        return command_line.sesame(*arguments, "--data-dir", sesame.data_dir, expect=expect)

    return run


@pytest.fixture
def deploy(run: Command, tmp_path: Path) -> Callable[..., None]:
    """Deploys these files as a function."""

    def deploy(name: str, runtime: str, *options: str, **files: str) -> None:
        folder = tmp_path / name.replace("/", "-")
        folder.mkdir(exist_ok=True)
        for file, text in files.items():
            (folder / f"{file}.py").write_text(text)
        run("deploy", folder, "--name", name, "--handler", "index.handler", "--runtime", runtime, *options)

    return deploy


def document(done: command_line.Done) -> Any:
    return json.loads(done.stdout)


@needs_both
def test_a_recorded_call_is_run_again(run: Command, deploy: Callable[..., None], tmp_path: Path) -> None:
    deploy("tools/half", "python2.7", "--env", f"PASSWORD={PASSWORD}", index=DIVIDES)
    run("invoke", "tools/half", "-e", '{"n": 1}')
    assert document(run("record", "list", "tools/half", "--json")) == {"recordings": []}
    assert "records all (its own setting)" in run("record", "set", "tools/half", "all").stdout
    run("invoke", "tools/half", "-e", '{"n": 5}')
    (found,) = document(run("record", "list", "tools/half", "--json"))["recordings"]
    request_id = found["requestId"]
    assert request_id in run("record", "list").stdout

    shown = run("record", "show", request_id).stdout
    assert '{"n": 5}' in shown
    assert "PASSWORD" in shown
    assert "dividing with ***" in shown
    assert PASSWORD not in shown + run("record", "show", request_id, "--json").stdout

    same = run("replay", request_id).stdout
    assert "python2.7 → python2.7  the recorded code" in same
    assert "result, error and log are the same" in same

    other = run("replay", request_id, "--runtime", "python3.12", expect=1).stdout
    assert "result differs" in other
    assert {'  -  "half": 2,', '  +  "half": 2.5,'} <= set(other.splitlines())

    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "index.py").write_text(DIVIDES.replace("dividing", "cutting").replace("/ 2", "// 2"))
    said = document(run("replay", request_id, "--code", changed, "--runtime", "python3.12", "--json", expect=1))
    assert [each["what"] for each in said["differences"]] == ["log"]
    assert said["code"] != said["recorded"]["code"]


@needs_both
def test_the_code_that_ran_is_run_again_after_the_function_has_changed(
    run: Command, deploy: Callable[..., None]
) -> None:
    deploy("tools/changes", "python3.12", index="def handler(event, context):\n    raise ValueError('first')\n")
    run("record", "set", "tools/changes", "failed")
    run("invoke", "tools/changes", expect=1)
    deploy("tools/changes", "python3.12", index="def handler(event, context):\n    return 'second'\n")
    run("invoke", "tools/changes")
    (found,) = document(run("record", "list", "tools/changes", "--json"))["recordings"]
    assert "result, error and log are the same" in run("replay", found["requestId"]).stdout
    assert run("record", "delete", "tools/changes").stdout.strip() == "1 recordings deleted"
    said = run("replay", found["requestId"], expect=1).stderr
    assert "RecordingNotFound" in said
    assert "`sesame record list` names those that are" in said


@needs_both
def test_moving_to_a_newer_python_is_compared(run: Command, deploy: Callable[..., None], tmp_path: Path) -> None:
    deploy("tools/old", "python2.7", index=OLD_CODE, late=OLD_MODULE, broken=BROKEN, warns=WARNS)
    events = tmp_path / "events.jsonl"
    events.write_text('{"n": 4}\n\n{"n": 5}\n{"m": 1}\n')
    runtimes = ("--runtimes", "python2.7,python3.12")
    said = run("compare", "tools/old", *runtimes, "--events", events, expect=1).stdout
    assert "sources under python3.12: 1 errors, 1 warnings that python2.7 does not have" in said
    assert "  broken.py:2: SyntaxError: Missing parentheses in call to 'print'." in said
    assert "  warns.py:1: SyntaxWarning: invalid escape sequence" in said
    assert "line 1 under python3.12: result differ" in said
    assert "line 3 under python3.12: result differ" in said

    deploy("tools/new", "python2.7", index="def handler(event, context):\n    return event\n")
    folder = tmp_path / "events"
    folder.mkdir()
    (folder / "one.bin").write_bytes(b"\xff\x00")
    found = document(run("compare", "tools/new", *runtimes, "--events", folder, "--json"))
    assert found["sources"] == []
    assert [(each["event"], each["differences"]) for each in found["events"]] == [("one.bin", [])]


def test_what_cannot_be_compared_is_told(run: Command, tmp_path: Path) -> None:
    for named, says in (
        ("python3.12", "expected two or more"),
        ("python2.7,python4", "there is no runtime 'python4'"),
    ):
        assert says in run("compare", "a/b", "--runtimes", named, expect=2).stderr
    (tmp_path / "events").write_text("{}\n{\n")
    runtimes = ("--runtimes", "python2.7,python3.12")
    said = run("compare", "a/b", *runtimes, "--events", tmp_path / "events", expect=1).stderr
    assert "events:2: this line is no JSON" in said
    (tmp_path / "none").mkdir()
    assert "has no events" in run("compare", "a/b", *runtimes, "--events", tmp_path / "none", expect=1).stderr
    assert "ServiceNotFound" in run("compare", "a/b", *runtimes, expect=1).stderr


@needs_both
def test_a_request_to_an_http_function_is_run_again(run: Command, deploy: Callable[..., None], sesame: Sesame) -> None:
    deploy(
        "tools/web",
        "python3.12",
        index=(
            "def handler(environ, start_response):\n"
            "    start_response('201 Created', [('X-Path', environ['PATH_INFO']), ('Set-Cookie', 'session=s3cr3t')])\n"
            "    return [environ['wsgi.input'].read()]\n"
        ),
    )
    run("record", "set", "tools/web", "all")
    url = f"{sesame.endpoint}/2016-08-15/proxy/tools/web/here"
    sent = requests.post(url, data=b"body", headers={"Authorization": "Bearer t0ken"}, timeout=60)
    assert (sent.status_code, sent.content) == (201, b"body")
    (found,) = document(run("record", "list", "tools/web", "--json"))["recordings"]
    said = run("replay", found["requestId"], "--json")
    assert document(said)["differences"] == []
    whole = document(said)["recorded"]
    parts = base64.b64decode(whole["httpParams"]) + base64.b64decode(whole["outcome"]["httpResult"])
    assert b"t0ken" not in parts
    assert b"s3cr3t" not in parts
    assert b"/here" in parts
