"""`sesame invoke` on a local directory: the same contract as deployed, under every interpreter found here."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.support import forked
from tests.support.interpreters import INTERPRETERS

from sesame.cli import local_code
from sesame.deploy.folder import NEWEST_FIRST
from sesame.sandbox.jail.isolation import probe

DEMO = Path(__file__).parents[2] / "src/sesame/cli/demo/functions"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("SESAME_")}


def invoke(*arguments: str, event: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return forked.run("invoke", *arguments, event=event, environ=CLEAN)


@pytest.mark.parametrize("runtime", sorted(INTERPRETERS))
def test_the_answer_is_all_there_is_on_stdout_and_the_log_is_on_stderr(runtime: str) -> None:
    code = f"--code={DEMO / 'json_event'}"
    done = invoke("main.my_handler", "-e", '{"key": "value"}', code, f"--runtime={runtime}")
    assert (done.returncode, done.stdout) == (0, b"value")
    assert b"FC Invoke Start RequestId:" in done.stderr
    assert b"Max Memory Used:" in done.stderr


def test_a_functions_error_ends_with_a_code(tmp_path: Path) -> None:
    done = invoke("main.my_handler", "-e", "{}", f"--code={DEMO / 'json_event'}")
    assert done.returncode == 1
    assert json.loads(done.stdout)["errorType"] == "KeyError"
    assert b"X-Fc-Error-Type: UnhandledInvocationError" in done.stderr


def test_the_event_comes_from_a_file_or_standard_input_untouched(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("def f(event, context):\n    return event\n")
    raw = b"\x00\xff\n bytes"
    (tmp_path / "event").write_bytes(raw)
    assert invoke("main.f", "-f", str(tmp_path / "event"), f"--code={tmp_path}").stdout == raw
    assert invoke("main.f", "-f", "-", f"--code={tmp_path}", event=raw).stdout == raw


def test_initializer_time_limit_memory_and_environment_are_kept(tmp_path: Path) -> None:
    done = invoke("main.my_handler", "--initializer=main.my_initializer", f"--code={DEMO / 'initializer'}")
    assert done.stdout == b"prepared once for initializer, called 1 times since"
    done = invoke("main.my_handler", "-e", "slow", "--timeout=1", f"--code={DEMO / 'timeout'}")
    assert done.returncode == 1
    assert b"Function timed out after 1 seconds" in done.stdout
    (tmp_path / "main.py").write_text(
        "import os\ndef f(event, context):\n    return '%s %s' % (os.environ['NAME'], context.function.memory)\n"
    )
    done = invoke("main.f", "--memory=256", "--env", "NAME=a=b", f"--code={tmp_path}")
    assert done.stdout == b"a=b 256"


def test_it_runs_where_a_server_would_run_it_also_if_others_may_not_read_the_code(tmp_path: Path) -> None:
    """A jail of root's has a user of its own for each instance."""
    code = tmp_path / "code"
    (code / "deep").mkdir(parents=True, mode=0o700)
    (code / "main.py").write_text("from deep import more\ndef f(event, context):\n    return __file__ + more.WORD\n")
    (code / "deep/__init__.py").write_text("")
    (code / "deep/more.py").write_text("WORD = '!'\n")
    (code / "deep/more.py").chmod(0o600)
    done = invoke("main.f", f"--code={code}")
    jail = probe().possible
    assert done.stdout == (b"/code/main.py!" if jail else f"{code}/main.py!".encode()), done.stderr
    assert (b"no jail, because" in done.stderr) != jail
    if jail:
        assert invoke("main.f", "--sandbox=jail", f"--code={code}").stdout == b"/code/main.py!"
    assert invoke("main.f", "--sandbox=plain", f"--code={code}").stdout == f"{code}/main.py!".encode()


def test_a_copy_for_others_is_read_by_others_whatever_the_umask_is(tmp_path: Path) -> None:
    (tmp_path / "code/deep").mkdir(parents=True)
    (tmp_path / "code/deep/main.py").write_text("")
    (tmp_path / "code/run").write_text("")
    (tmp_path / "code/run").chmod(0o700)
    (tmp_path / "code/link").symlink_to("deep/main.py")
    before = os.umask(0o077)
    try:
        copy = local_code.copy_for_others(tmp_path / "code", tmp_path / "copy")
    finally:
        os.umask(before)
    assert local_code.others_may_read(copy)
    assert not local_code.others_may_read(tmp_path / "code")
    assert os.readlink(copy / "link") == "deep/main.py"
    assert os.access(copy / "run", os.X_OK)


def test_without_a_runtime_it_takes_the_newest_that_can_read_the_source(tmp_path: Path) -> None:
    found = INTERPRETERS
    (tmp_path / "main.py").write_text("import sys\ndef f(event, context):\n    return '%d.%d' % sys.version_info[:2]\n")
    newest = next(name for name in NEWEST_FIRST if name in found)
    assert invoke("main.f", f"--code={tmp_path}").stdout.decode() == ".".join(map(str, found[newest].minor))
    (tmp_path / "old.py").write_text("import sys\ndef f(event, context):\n    print 'old'\n    return 'two'\n")
    assert invoke("old.f", f"--code={tmp_path}").stdout == b"two"


WEB = """
def app(environ, start_response):
    start_response('201 Made', [('X-Path', environ['PATH_INFO']), ('Content-Type', 'text/plain')])
    parts = [environ['REQUEST_METHOD'], environ['QUERY_STRING'], environ.get('HTTP_X_MINE', ''), environ['HTTP_HOST']]
    return [environ['wsgi.input'].read() + b' ' + ' '.join(parts).encode()]

def fails(environ, start_response):
    raise ValueError('no')
"""


@pytest.mark.parametrize("runtime", sorted({"python2.7", "python3.12"} & set(INTERPRETERS)))
def test_a_request_reaches_an_http_function_and_its_response_comes_back(tmp_path: Path, runtime: str) -> None:
    (tmp_path / "web.py").write_text(WEB)
    named = (f"--code={tmp_path}", f"--runtime={runtime}")
    done = invoke("web.app", "--http", "POST /a%20b?x=1&y", "-e", "body", "-H", "X-Mine: 5", *named)
    assert (done.returncode, done.stdout) == (0, b"body POST x=1&y 5 localhost")
    assert b"HTTP 201 Created\nX-Path: /a b\nContent-Type: text/plain\n" in done.stderr
    done = invoke("web.app", "--http", "/", "-H", "Host: shop.example", *named)
    assert done.stdout == b" GET   shop.example"
    done = invoke("web.fails", "--http", "GET /", *named)
    assert (done.returncode, json.loads(done.stdout)["errorMessage"]) == (1, "no")


def test_what_is_no_request_is_refused(tmp_path: Path) -> None:
    for request in ("", "/a b", "GET", "FETCH /", "GET path", "GET http://x/", "GET /#here"):
        done = invoke("main.f", "--http", request, f"--code={tmp_path}")
        assert (done.returncode, b"expected a method and a path" in done.stderr) == (2, True), request
    for header in ("none", ": x", "a b: c", "a: b\nc: d"):
        done = invoke("main.f", "--http", "/", "-H", header, f"--code={tmp_path}")
        assert (done.returncode, b"expected 'Name: value'" in done.stderr) == (2, True), header


def test_nothing_is_written_into_the_directory(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("def f(event, context):\n    return 'ok'\n")
    assert invoke("main.f", f"--code={tmp_path}").stdout == b"ok"
    assert invoke("main.f", f"--code={tmp_path}", "--runtime=python2.7").stdout == b"ok"
    assert [path.name for path in tmp_path.iterdir()] == ["main.py"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), b"name a HANDLER"),
        (("main.f", "-e", "x", "-f", "-"), b"not both"),
        (("--service", "s"), b"go together"),
        (("main.f", "--service", "s", "--function", "f"), b"leave HANDLER away"),
        (("--service", "s", "--function", "f", "--runtime", "python2.7"), b"leave --runtime away"),
        (("--service", "s", "--function", "f", "--env", "A=b", "--timeout=3"), b"leave --timeout, --env away"),
        (("--service", "s", "--function", "f", "--sandbox=plain", "--cpu=shares"), b"leave --sandbox, --cpu away"),
        (("main.f", "--endpoint", "http://127.0.0.1:9000", "--data-dir=x"), b"leave --endpoint, --data-dir away"),
        (("main.f", "-H", "A: b"), b"without --http there is no request: leave -H away"),
        (("main.f", "--keep-s", "5"), b"without --keep nothing is kept: leave --keep-s away"),
        (("s/f", "--http", "GET /", "--keep", "--role", "r"), b"leave --http, --keep, --role away"),
        (("main.f", "--env", "1=2"), b"expected NAME=VALUE"),
        (("main.f", "--runtime", "python4"), b"is not one of"),
        (("main.f", "--memory", "1"), b"is not in the range"),
    ],
)
def test_what_was_typed_wrong_is_said(arguments: tuple[str, ...], says: bytes) -> None:
    done = invoke(*arguments)
    assert done.returncode == 2
    assert says in done.stderr


def test_no_server_for_a_deployed_function_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    done = invoke("--service=s", "--function=f", f"--data-dir={tmp_path}")
    assert done.returncode == 1
    assert b"no Sesame runs on the data directory" in done.stderr


def test_what_a_newcomer_gets_wrong_first_is_explained(tmp_path: Path) -> None:
    done = invoke("my_handler", f"--code={tmp_path}")
    assert (done.returncode, json.loads(done.stdout)["errorType"]) == (1, "InvalidHandleName")
    assert b"A handler is MODULE.FUNCTION, as main.my_handler" in done.stderr
    done = invoke("deep.main.f", f"--code={tmp_path}")
    assert (done.returncode, json.loads(done.stdout)["errorType"]) == (1, "ImportModuleError")
    assert f"There is no deep/main.py in {tmp_path}".encode() in done.stderr
    (tmp_path / "main.py").write_text("import nothing_of_this_name\n")
    done = invoke("main.f", f"--code={tmp_path}")
    assert done.returncode == 1
    assert b"--code names the folder" not in done.stderr
    assert b"There is no module 'nothing_of_this_name'" in done.stderr


def test_events_are_bytes_and_names_are_text(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("def f(event, context):\n    return event\n")
    odd = os.fsdecode(b"\xff\xfe")
    assert invoke("main.f", f"--code={tmp_path}", "-e", odd).stdout == b"\xff\xfe"
    (tmp_path / odd).mkdir()
    for arguments in (
        (f"main{odd}.f", f"--code={tmp_path}"),
        ("main.f", f"--code={tmp_path / odd}"),
        ("--service", odd, "--function", "f"),
    ):
        done = invoke(*arguments)
        assert done.returncode == 2
        assert b"\\xff\\xfe" in done.stderr
        assert b"is not UTF-8" in done.stderr
