"""`sesame demo`: what it shows when all is there, and what it says when an interpreter is not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from sesame.cli.demo import show
from sesame.cli.demo.calls import (
    CALLS,
    FUNCTIONS,
    Answer,
    answers,
    fails,
    oss_code,
    refused_by_oss,
    shows_whole_context,
)
from sesame.cli.demo.command import demo as demo_command
from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes.interpreters import discover

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("SESAME_")}


def demo(*options: str, environ: dict[str, str] = CLEAN) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sesame", "demo", *options], capture_output=True, text=True, check=False, env=environ
    )


def answer(body: bytes, *, failed: bool = False, log: str = "") -> Answer:
    return Answer(body=body, failed=failed, request_id="rid", round_trip_ms=1.0, log=log)


@pytest.mark.thorough
def test_every_call_is_answered_as_the_manual_says_under_both_runtimes() -> None:
    done = demo("--strict", "--verbose")
    calls = 2 * sum(map(len, CALLS.values()))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{calls} of {calls} calls under python2.7 and python3" in done.stdout
    for shown in ("hello world", "KeyError", "context.region = 'cn-shanghai'", "prepared once", "timed out after 1 se"):
        assert shown in done.stdout
    for runtime in ("python2.7", "python3"):
        assert f"hello-{runtime}.txt, read with the account key: 'Hello from {runtime}'" in done.stdout
        for kept_out in ("no-token", "reader"):
            assert f"{kept_out}-{runtime}.txt, read with the account key: there is no such object" in done.stdout
    for code in ("InvalidAccessKeyId", "AccessDenied"):
        assert done.stdout.count(f"refused it with {code}") == 2
    assert "How to go on:" in done.stdout


@pytest.mark.thorough
def test_a_missing_interpreter_is_named_the_rest_runs_and_strict_fails(tmp_path: Path) -> None:
    one = tmp_path / "bin"
    one.mkdir()
    (one / "python3.9").symlink_to(discover()["python3.9"].path)
    environ = CLEAN | {"PATH": str(one), "HOME": str(tmp_path), "PYENV_ROOT": str(tmp_path)}
    found = discover(environ=environ)
    assert "python2.7" not in found, "this test is for a machine without a python2.7 in its usual folders"
    assert found["python3"].substitute_for == "3.6"
    done = demo(environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Did not run: python2.7, because its interpreter was not found. Get it:" in done.stdout
    assert "Did not run: the uploads under python3, because its packages are not installed." in done.stdout
    assert "sesame runtimes install python3" in done.stdout
    assert "calls under python3 came back" in done.stdout
    # Without --verbose each call has one line.
    assert done.stdout.count("  ok    ") == sum(
        len(CALLS[function.name]) for function in FUNCTIONS if not function.needs_packages
    )
    assert re.search(r"^  ok    A JSON event +\S.* value +cold +[\d.]+ ms$", done.stdout, re.MULTILINE)
    assert "request " not in done.stdout
    strict = demo("--strict", environ=environ)
    assert strict.returncode == 1
    assert "--strict: not every function ran on its runtime's own interpreter: python2.7, python3" in strict.stderr


def test_a_call_that_went_wrong_is_shown_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    came_back = Answer(body=b"x" * 500, failed=False, request_id="rid-1", round_trip_ms=1.0, log="line one\nline two")
    wrong = show.Shown(
        function=FUNCTIONS[0], call=CALLS["hello"][0], event=b"", answer=came_back, stored="", problem="not expected"
    )
    show.call(wrong, details=False)
    said = capsys.readouterr().out
    assert said.startswith("  wrong Hello world")
    for part in ("x" * 500, "line one", "line two", "request rid-1", "not as the manual says: not expected"):
        assert part in said
    show.call(msgspec.structs.replace(wrong, problem=""), details=False)
    assert capsys.readouterr().out.count("\n") == 1


def test_without_the_official_sdk_the_demo_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sesame.cli.demo.client.fc2", None)
    with pytest.raises(ConfigurationError, match=r"not installed: \S+ -m pip install 'sesame-fc\[demo\]'"):
        CliRunner().invoke(demo_command, [], catch_exceptions=False)


def test_nothing_but_the_demo_needs_the_official_sdk() -> None:
    """Every module of Sesame is imported with the SDK absent; the demo's too, so that `--help` works.

    But what exports traces, and what uses Ray: older exporters of OpenTelemetry, which belong to `[otel]`, and Ray need
    requests, as the SDK does.
    """
    code = (
        "import importlib, pathlib, sys\n"
        "sys.modules['fc2'] = sys.modules['oss2'] = sys.modules['requests'] = None\n"
        "import sesame\n"
        "root = pathlib.Path(sesame.__file__).parent\n"
        "for path in sorted(root.rglob('*.py')):\n"
        "    parts = path.relative_to(root).with_suffix('').parts\n"
        "    apart = parts[0] in ('runtime', '__main__', 'on_ray') or parts == ('traces', 'provider')\n"
        "    if not apart and 'migrations' not in parts and 'functions' not in parts:\n"
        "        importlib.import_module('.'.join(('sesame', *parts)).removesuffix('.__init__'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_function_of_the_demo_lies_where_it_is_deployed_from() -> None:
    assert {function.name for function in FUNCTIONS} == set(CALLS)
    for function in FUNCTIONS:
        assert (function.folder / "main.py").is_file()


def test_the_checks_accept_right_answers_and_refuse_wrong_ones() -> None:
    assert answers("a+")(answer(b"aa")) == ""
    assert "expected 'a+'" in answers("a+")(answer(b"b"))
    assert "the error" in answers("a+")(answer(b"a", failed=True))
    key_error = b'{"errorType": "KeyError", "errorMessage": "\'key\'"}'
    assert fails("KeyError", "key")(answer(key_error, failed=True)) == ""
    assert "expected an error" in fails("KeyError", "key")(answer(b"value"))
    assert "expected an error without a type" in fails(None, "key")(answer(key_error, failed=True))
    refusal = answer(b"{\"errorMessage\": \"{'status': 403, 'Code': u'AccessDenied'}\"}", failed=True)
    assert oss_code(refusal) == "AccessDenied"
    assert refused_by_oss("AccessDenied")(refusal) == ""
    assert "found 'AccessDenied'" in refused_by_oss("InvalidAccessKeyId")(refusal)
    assert "with AccessDenied, found b'success'" in refused_by_oss("AccessDenied")(answer(b"success"))
    assert "not printed: request_id" in shows_whole_context(answer(b"rid"))
