"""The plugin in test suites of users: what a failing test shows, what is left from one test to the next and after all.

Run by pytest, which runs other pytests. Starts one Sesame for each of these, on free ports of 127.0.0.1.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.support import plain_pytest

pytest_plugins = ("pytester",)

PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the runs put their temporary files; empty at the end."""
    made = tmp_path / "temporary"
    made.mkdir()
    monkeypatch.setenv("TMPDIR", str(made))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield made
    eventually_gone(made)


def eventually_gone(folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while left := list(folder.glob("sesame-*")):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def pids(pytester: pytest.Pytester) -> list[int]:
    """The servers that the tests wrote down, none of which may run any more."""
    found = [int(path.read_text()) for path in pytester.path.glob("pid*")]
    assert found
    return found


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_failing_test_shows_each_invocation_with_its_log_and_traceback(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nsesame_sandbox = plain\n")
    pytester.makepyfile(
        """
        def test_good(sesame):
            @sesame.function
            def good(event, context):
                print("nobody sees this")
            good.invoke()

        def test_bad(sesame, pytestconfig):
            (pytestconfig.rootpath / "pid").write_text(str(sesame.pid))
            assert sesame.sandbox == "plain"

            @sesame.function
            def divide(event, context):
                print("dividing", event)
                return 1 // int(event)

            assert divide.invoke("1").json() == 1
            divide.invoke("0")

        def test_wrong_log(sesame):
            assert not sesame.invocations
            sesame.bucket("bucket").assert_object("a", "b")
        """
    )
    done = pytester.runpytest_inprocess(*plain_pytest.OPTIONS)
    done.assert_outcomes(passed=1, failed=2)
    text = done.stdout.str()
    assert "nobody sees this" not in text
    done.stdout.fnmatch_lines(
        [
            "*sesame.testing.function.FunctionFailed: tests/divide failed*",
            "*- sesame: invocations of this test -*",
            "--- tests/divide succeeded in * ms, cold, request *",
            "event:  1",
            "result: 1",
            "*dividing b'1'",
            "--- tests/divide failed (unhandled) in * ms, request *",
            "event:  0",
            "*Traceback (most recent call last):",
            '*File "/code/test_a_failing_test_shows_each_invocation_with_its_log_and_traceback.py", line 14, in divide',
            "*return 1 // int(event)",
            "*ZeroDivisionError: *",
            "log:",
            "*dividing b'0'",
            "*AssertionError: there is no object 'a' in bucket bucket; there is nothing",
        ]
    )
    assert not any(map(lives, pids(pytester)))


ATTACKS = """
    import threading
    import time

    import pytest

    def slow(event, context):
        import time
        open("/tmp/began", "w").close()
        time.sleep(600)

    def echo(event, context):
        import os
        seen = sorted(os.listdir("/tmp"))
        open("/tmp/mine", "w").close()
        return repr((event, seen))

    def writer(event, context):
        import os
        import time
        import oss2
        keys = context.credentials
        auth = oss2.StsAuth(keys.access_key_id, keys.access_key_secret, keys.security_token)
        bucket, number = oss2.Bucket(auth, os.environ["OSS"], "bucket"), 0
        while True:
            bucket.put_object("late-%d" % number, b"x")
            number += 1
            # Enough for a write to be under way whenever it is ended, and little of the processor.
            time.sleep(0.01)

    @pytest.mark.parametrize("turn", [1, 2])
    def test_a_function_that_writes_until_it_is_ended_and_events_on_their_way(sesame, turn):
        e = sesame.function(echo)
        bucket = sesame.bucket("bucket")
        assert bucket.keys() == []
        writes = sesame.function(writer, environment={"OSS": sesame.oss_endpoint}, timeout_s=600)
        writes.invoke_async()
        deadline = time.monotonic() + 60
        while not bucket.keys():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        e.on_object("bucket")
        for number in range(10):
            bucket.put(str(number), "")

    def ask(sesame):
        client = sesame.fc_client()
        names = [s["serviceName"] for s in client.list_services().data["services"]]
        return names, sesame.invocations, [b.name for b in __import__("oss2").Service(
            __import__("oss2").Auth(sesame.access_key_id, sesame.access_key_secret), sesame.oss_endpoint
        ).list_buckets().buckets]

    @pytest.mark.parametrize("turn", [1, 2])
    def test_all_that_can_be_made(sesame, turn, pytestconfig):
        (pytestconfig.rootpath / "pid").write_text(str(sesame.pid))
        assert ask(sesame) == ([], [], [])
        assert abs(sesame.clock.now().timestamp() - time.time()) < 60
        e = sesame.function(echo)
        # A new instance: nothing of the last test's is in its folder, and its queue is empty.
        assert e.invoke(b"x").text == repr((b"x", []))
        e.on_timer("@every 1m")
        bucket = sesame.bucket("bucket")
        bucket.put("old", "old")
        e.on_object("bucket")
        bucket.put("k", "v")
        sesame.settle()
        assert len(e.events) == 2
        e.publish("live")
        client = sesame.fc_client()
        client.create_function("tests", "by-sdk", "python3.10", "m.h", codeDir=str(pytestconfig.rootpath / "code"))
        # What runs for ten minutes, what waits behind it, and what is to be tried again in a minute.
        s = sesame.function(slow, timeout_s=600)
        s.invoke_async()
        for n in range(20):
            e.invoke_async(b"late %d" % n)
            s.invoke_async()
        multipart = sesame.oss_bucket("bucket").init_multipart_upload("big")
        sesame.oss_bucket("bucket").upload_part("big", multipart.upload_id, 1, b"part")
        threading.Thread(target=lambda: pytest.raises(Exception, s.invoke), daemon=True).start()

    def test_roles_can_be_made_and_removed(sesame):
        client = sesame._api().client
        client.ask("DELETE", "/sesame/roles/AliyunFCDefaultRole")
        client.ask("POST", "/sesame/roles", {"roleName": "mine", "policies": ["AliyunOSSFullAccess"]})

    def test_nothing_comes_late(sesame):
        e = sesame.function(echo)
        s = sesame.function(slow)
        bucket = sesame.bucket("bucket")
        assert bucket.keys() == []
        assert sesame.oss_bucket("bucket").list_multipart_uploads().upload_list == []
        e.on_object("bucket")
        sesame.settle()
        sesame.clock.advance(hours=2)
        assert sesame.invocations == []

    def test_roles_that_were_removed_are_there_again(sesame):
        assert sesame.function(echo).invoke().text
        names = [r["roleName"] for r in sesame._api().client.ask("GET", "/sesame/roles")["roles"]]
        assert "AliyunFCDefaultRole" in names and "mine" not in names
"""


def test_nothing_of_one_test_reaches_the_next(pytester: pytest.Pytester) -> None:
    (pytester.mkdir("code") / "m.py").write_text("def h(event, context):\n    return event\n")
    pytester.makepyfile(ATTACKS)
    done = pytester.runpytest_inprocess(*plain_pytest.OPTIONS)
    done.assert_outcomes(passed=7)
    assert not any(map(lives, pids(pytester)))


@pytest.mark.thorough
def test_each_process_of_a_parallel_run_has_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os
        import pytest

        @pytest.mark.parametrize("n", range(4))
        def test_own(sesame, n, worker_id, pytestconfig):
            (pytestconfig.rootpath / ("pid-" + worker_id)).write_text(str(sesame.pid))

            @sesame.function
            def who(event, context):
                return event
            assert who.invoke(worker_id).text == worker_id
            assert len(who.invocations) == 1

        async def test_beside_a_running_loop(sesame, worker_id):
            @sesame.function
            def who(event, context):
                return event
            assert who.invoke("async").text == "async"
        """
    )
    done = pytester.runpytest_subprocess("-n", "2", "-o", "asyncio_mode=auto", *plain_pytest.OPTIONS)
    done.assert_outcomes(passed=5)
    found = pids(pytester)
    assert len(set(found)) == len(found) == 2
    assert not any(map(lives, found))


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.thorough), signal.SIGKILL])
def test_a_session_that_is_ended_leaves_nothing(pytester: pytest.Pytester, number: signal.Signals) -> None:
    path = pytester.makepyfile(
        """
        import os, time

        def test_long(sesame, pytestconfig):
            @sesame.function
            def pid(event, context):
                import subprocess
                subprocess.Popen(["sleep", "600"])
            pid.invoke()
            (pytestconfig.rootpath / "part").write_text(str(sesame.pid))
            os.rename(str(pytestconfig.rootpath / "part"), str(pytestconfig.rootpath / "pid"))
            time.sleep(600)
        """
    )
    command = [sys.executable, "-m", "pytest", *plain_pytest.OPTIONS, str(path)]
    with subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.PIPE, start_new_session=True) as running:
        deadline = time.monotonic() + PATIENCE_S
        while not (pytester.path / "pid").exists():
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (server,) = pids(pytester)
        own = [server, *(child.pid for child in psutil.Process(server).children(recursive=True))]
        # As the terminal does: to every process of the group.
        os.killpg(running.pid, number)
        output, _ = running.communicate(timeout=PATIENCE_S)
    if number is signal.SIGINT:
        assert b"KeyboardInterrupt" in output
    while any(map(lives, own)):
        assert time.monotonic() < deadline + PATIENCE_S
        time.sleep(0.05)


def test_settings_and_the_marker_are_checked_and_choose(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        def version(event, context):
            import sys
            return "%d.%d" % sys.version_info[:2]

        def test_of_the_file(sesame):
            assert sesame.function(version).invoke().text == "3.10"

        @pytest.mark.sesame(runtime="python3.12")
        def test_of_the_marker(sesame):
            assert sesame.function(version).invoke().text == "3.12"

        @pytest.mark.sesame("python3.12")
        def test_marker_that_is_wrong(sesame):
            pass
        """
    )
    pytester.makeini("[pytest]\nsesame_runtime = python3.10\nsesame_sandbox = plain\n")
    done = pytester.runpytest_inprocess(*plain_pytest.OPTIONS)
    done.assert_outcomes(passed=2, errors=1)
    done.stdout.fnmatch_lines(["*the marker sesame takes runtime='python3.10'; found*"])
    pytester.makeini("[pytest]\nsesame_sandbox = docker\n")
    refused = pytester.runpytest_inprocess(*plain_pytest.OPTIONS)
    refused.assert_outcomes(errors=0)
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*sesame_sandbox in *: sandbox is 'docker'; expected one of auto, jail, plain"])


@pytest.mark.thorough
def test_paths_begin_at_the_test_file_or_at_the_root_of_the_project(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nsesame_sandbox = plain\n")
    pytester.makefile(".py", index="def handler(event, context):\n    return event\n")
    project = "edition: 1.0.0\nname: p\nservices:\n  a:\n    component: fc\n    props:\n      region: cn-hangzhou\n"
    pytester.makefile(
        ".yaml",
        s=project + "      service: {name: shop}\n      function: {name: f, runtime: python3, handler: index.handler, "
        "codeUri: ./}\n",
    )
    tests = pytester.mkdir("tests")
    (tests / "near.py").write_text("def handler(event, context):\n    return event * 2\n")
    (tests / "test_paths.py").write_text(
        "def test_paths(sesame):\n"
        "    assert sesame.deploy('s.yaml').invoke('x').text == 'x'\n"
        "    assert sesame.deploy('near.py').invoke('x').text == 'xx'\n"
    )
    pytester.runpytest_inprocess(*plain_pytest.OPTIONS).assert_outcomes(passed=1)


@pytest.mark.thorough
def test_a_module_that_the_runtime_lacks_is_told_with_the_next_step(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_missing(sesame):
            @sesame.function
            def f(event, context):
                import no_such_module
            sesame._hello()["notices"] = ["Runtime x has no packages yet. Install them: sesame runtimes install x"]
            f.invoke()
        """
    )
    done = pytester.runpytest_inprocess(*plain_pytest.OPTIONS, "-o", "sesame_sandbox=plain")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*sesame: what this machine lacks*", "*Install them: sesame runtimes install x"])


def test_a_run_that_needs_no_sesame_starts_none_and_loads_nothing_of_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        import pytest

        @pytest.fixture
        def sesame():
            return "mine"

        def test_own_fixture(sesame, request):
            assert sesame == "mine"
            heavy = {"sqlalchemy", "msgspec", "sesame.app", "sesame.cli.client", "fc2", "oss2"}
            assert not heavy & set(sys.modules)
            assert not list(__import__("pathlib").Path(__import__("tempfile").gettempdir()).glob("sesame-*"))
        """
    )
    pytester.runpytest_subprocess(*plain_pytest.OPTIONS).assert_outcomes(passed=1)


def test_plain_python_has_it_without_pytest() -> None:
    code = (
        "import sys\nfrom sesame.testing import Cloud\n"
        "import sesame.testing.api, sesame.testing.deployment\n"
        "assert not {'pytest', 'sqlalchemy', 'starlette'} & {*sys.modules}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
