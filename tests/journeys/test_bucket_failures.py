"""Buckets as files when something is missing or ends: rights, the bucket, the function, the server, and what serves it.

Run by pytest, where FUSE can be used. Events of files are here too.
"""

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fc2
import oss2
import psutil
import pytest
import requests
from tests.journeys.conftest import ACCOUNT_ID, REGION, Sesame, failure, lives, run, running, wait_until
from tests.support.buckets import CODE, Mounted, bucket_of, create_service, keys, new_name, text
from tests.support.jails import buckets_only, root_only

pytestmark = buckets_only
RUNTIME = "python3.12"
EVENTS_ROLE = f"acs:ram::{ACCOUNT_ID}:role/aliyunosseventnotificationrole"
RECURSION_LIMIT = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    flags = ("--recursion-limit", str(RECURSION_LIMIT))
    with running(tmp_path_factory.mktemp("buckets"), *flags, runtime=RUNTIME) as sesame:
        yield sesame


@pytest.fixture
def bucket(server: Sesame) -> oss2.Bucket:
    made = bucket_of(server, new_name())
    made.create_bucket()
    return made


def role_that_may(server: Sesame, tmp_path: Path, bucket: str, *actions: str) -> str:
    name = new_name()
    statement = {"Effect": "Allow", "Action": actions, "Resource": [f"acs:oss:*:*:{bucket}", f"acs:oss:*:*:{bucket}/*"]}
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"Version": "1", "Statement": [statement]}))
    run(server, "roles", "add", name, "--policy-file", policy)
    return f"acs:ram::{ACCOUNT_ID}:role/{name}"


def test_the_role_decides_each_operation(server: Sesame, bucket: oss2.Bucket, tmp_path: Path) -> None:
    bucket.put_object("f", b"x")
    program = """
        result = [failure(os.listdir, '/mnt/oss'), failure(read, '/mnt/oss/f'), failure(write, '/mnt/oss/f', b'y'),
                  failure(write, '/mnt/oss/new', b'y'), failure(os.mkdir, '/mnt/oss/d'),
                  failure(os.remove, '/mnt/oss/f')]
    """
    rights = ("oss:GetObject", "oss:ListObjects")
    reads = Mounted(
        server, bucket.bucket_name, RUNTIME, role=role_that_may(server, tmp_path, bucket.bucket_name, *rights)
    )
    assert reads(program) == [None, None, "EACCES", "EACCES", "EACCES", "EACCES"]
    nothing = Mounted(server, bucket.bucket_name, RUNTIME, role=role_that_may(server, tmp_path, "another", *rights))
    assert nothing(program) == ["EACCES"] * 6
    assert (keys(bucket), text(bucket, "f")) == (["f"], "x")
    more = (*rights, "oss:PutObject")
    writes = Mounted(
        server, bucket.bucket_name, RUNTIME, role=role_that_may(server, tmp_path, bucket.bucket_name, *more)
    )
    assert writes(program) == [None, None, None, None, None, "EACCES"]


def test_a_bucket_that_is_not_there_is_told(server: Sesame) -> None:
    missing = Mounted(server, "not-there", RUNTIME)
    refused = failure(missing, "result = 1")
    assert refused["status"] == 412
    assert "the bucket 'not-there' cannot be mounted at /mnt/oss: it does not exist" in refused["ErrorMessage"]


def test_a_function_that_is_killed_leaves_no_half_object(server: Sesame, bucket: oss2.Bucket) -> None:
    bucket.put_object("kept", b"whole")
    run = Mounted(server, bucket.bucket_name, RUNTIME)
    assert run("""
        import signal, subprocess, sys
        killed = 'import os; f = open("/mnt/oss/%s", "wb", 0); f.write(b"half"); os.kill(os.getpid(), 9)'
        result = [subprocess.call([sys.executable, '-c', killed % name]) for name in ('kept', 'new')]
    """) == [-9, -9]
    assert (keys(bucket), text(bucket, "kept")) == (["kept"], "whole")
    assert run("result = [read('/mnt/oss/kept'), os.listdir('/mnt/oss')]") == ["whole", ["kept"]]
    # A process that ends by itself has closed what it had open.
    run(
        "import subprocess, sys; subprocess.call([sys.executable, '-c', "
        '\'import os; f = open("/mnt/oss/ended", "wb", 0); f.write(b"x"); os._exit(3)\'])'
    )
    assert text(bucket, "ended") == "x"
    with pytest.raises(fc2.FcError):
        run("FOUND['f'] = open('/mnt/oss/kept', 'wb', 0); FOUND['f'].write(b'half'); os.kill(os.getpid(), 9)")
    assert run("result = read('/mnt/oss/kept')") == "whole"


def triggered(server: Sesame, bucket: str, handler: str, prefix: str) -> None:
    """A function with the bucket mounted is invoked for each object that is made below the prefix."""
    service, client = new_name(), server.client()
    create_service(server, service, bucket)
    client.create_function(service, "f", RUNTIME, handler, codeDir=CODE, timeout=60)
    config = {"events": ["oss:ObjectCreated:PutObject"], "filter": {"key": {"prefix": prefix, "suffix": ""}}}
    source = f"acs:oss:{REGION}:{ACCOUNT_ID}:{bucket}"
    client.create_trigger(service, "f", "t", "oss", config, source, EVENTS_ROLE)


def test_files_have_the_events_of_objects(server: Sesame, bucket: oss2.Bucket) -> None:
    triggered(server, bucket.bucket_name, "index.on_event", "in/")
    run = Mounted(server, bucket.bucket_name, RUNTIME)
    run("os.mkdir('/mnt/oss/in'); write('/mnt/oss/in/f', b'x')")
    wait_until(lambda: bucket.object_exists("out/f"), "an object that answers the event")
    assert text(bucket, "out/f") == "ObjectCreated:PutObject"


def test_functions_that_invoke_themselves_by_files_are_stopped(server: Sesame, bucket: oss2.Bucket) -> None:
    triggered(server, bucket.bucket_name, "index.again", "loop")
    bucket.put_object("loop", b"")
    wait_until(lambda: len(keys(bucket)) > RECURSION_LIMIT, "the last of the chain")
    wait_until(lambda: "recursion limit" in server.said(), "its refusal")
    assert len(keys(bucket)) == RECURSION_LIMIT + 1


def serving(server: Sesame) -> list[psutil.Process]:
    """The processes of a server that serve mounted buckets: one of each agent that has had such an instance."""
    found = []
    for process in psutil.Process(server.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "sesame.sandbox.buckets.process" in process.cmdline():
                found.append(process)
    return found


@root_only
def test_only_the_function_s_own_processes_reach_its_mount(server: Sesame, bucket: oss2.Bucket) -> None:
    bucket.put_object("f", b"x")
    run = Mounted(server, bucket.bucket_name, RUNTIME)
    assert run("result = read('/mnt/oss/f')") == "x"
    (pid, *_others) = [each.pid for each in server.instances() if " /mnt/oss " in mounts_of(each.pid)]
    # Not even root, of whom a file system that a function fills could have much.
    with pytest.raises(PermissionError):
        os.listdir(f"/proc/{pid}/root/mnt/oss")


ASKED_FOR_ITS_HEALTH = """#!/usr/bin/env python3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

asked = threading.Event()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        asked.set()
        self.answer(b"")

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked.clear()
        self.answer(open("/mnt/oss/f", "rb").read() if asked.wait(45) else b"not asked")

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("0.0.0.0", 9000), Handler).serve_forever()
"""


def test_a_custom_runtime_has_buckets_too(server: Sesame, bucket: oss2.Bucket, tmp_path: Path) -> None:
    bucket.put_object("f", b"x")
    (tmp_path / "bootstrap").write_text(ASKED_FOR_ITS_HEALTH)
    (tmp_path / "bootstrap").chmod(0o755)
    service, client = new_name(), server.client()
    create_service(server, service, bucket.bucket_name)
    client.create_function(
        service, "f", "custom", "index.handler", codeDir=str(tmp_path), memorySize=256, timeout=60,
        instanceConcurrency=2,
    )  # fmt: skip
    check = {"httpGetUrl": "/", "periodSeconds": 1}
    changed = server.api()("PUT", f"/services/{service}/functions/f", json.dumps({"customHealthCheckConfig": check}))
    assert changed.status_code == 200
    assert client.invoke_function(service, "f", b"").data == b"x"


@pytest.mark.parametrize("end", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.thorough)])
def test_nobody_waits_for_ever_for_the_process_that_serves_buckets(
    server: Sesame, bucket: oss2.Bucket, end: signal.Signals
) -> None:
    run = Mounted(server, bucket.bucket_name, RUNTIME, timeout=10)
    before = {each.pid: mounts(each) for each in serving(server)}
    run("write('/mnt/oss/f', b'x')")
    (process,) = (each for each in serving(server) if mounts(each) > before.get(each.pid, 0))
    with ThreadPoolExecutor(1) as callers:
        waiting = callers.submit(
            failure, run, "write('/mnt/oss/begun', b'')\nwhile True: os.stat('/mnt/oss/f'), time.sleep(0.01)"
        )
        wait_until(lambda: bucket.object_exists("begun"), "the call")
        process.send_signal(end)
        waiting.result(60)
    wait_until(lambda: not lives(process), "the end of the process")
    assert run("result = read('/mnt/oss/f')") == "x"
    assert process.pid not in {each.pid for each in serving(server)}


def test_nothing_is_left_of_an_instance_that_has_ended(tmp_path: Path) -> None:
    with running(tmp_path, runtime=RUNTIME) as server:
        bucket_of(server, "files").create_bucket()
        for _number in range(3):
            run = Mounted(server, "files", RUNTIME)
            run("write('/mnt/oss/f', b'x'); FOUND['f'] = open('/mnt/oss/f', 'ab', 0); FOUND['f'].write(b'half')")
        processes = serving(server)
        assert sum(map(mounts, processes)) == 3
        for instance in server.instances():
            with contextlib.suppress(psutil.NoSuchProcess):
                instance.kill()
        wait_until(lambda: not any(map(kept_open, processes)), "the end")
        assert text(bucket_of(server, "files"), "f") == "x"


def mounts(process: psutil.Process) -> int:
    return opened(process).count("/dev/fuse")


def kept_open(process: psutil.Process) -> list[str]:
    """The mounts, and the files that are not stored yet."""
    return [each for each in opened(process) if each == "/dev/fuse" or "drafts" in each]


def opened(process: psutil.Process) -> list[str]:
    """What each open file of a process is."""
    return [os.readlink(file) for file in Path(f"/proc/{process.pid}/fd").iterdir()]


def test_a_server_that_is_killed_leaves_nobody_waiting_and_no_half_object(tmp_path: Path) -> None:
    with running(tmp_path, runtime=RUNTIME) as server:
        bucket = bucket_of(server, "files")
        bucket.create_bucket()
        run = Mounted(server, "files", RUNTIME)
        run("write('/mnt/oss/whole', b'x')")
        program = """
            half = open('/mnt/oss/half', 'wb', 0)
            half.write(b'x')
            write('/mnt/oss/begun', b'')
            time.sleep(3600)
        """

        def call() -> None:
            with pytest.raises((requests.RequestException, fc2.FcError)):
                run(program)

        waiting = threading.Thread(target=call)
        waiting.start()
        wait_until(lambda: bucket.object_exists("begun"), "the call")
        left = [*serving(server), *server.instances()]
        assert len(left) > 1
        server.kill()
        waiting.join(60)
        wait_until(lambda: not any(lives(process) for process in left), "the end of all of them")
        server.start()
        bucket = bucket_of(server, "files")
        assert keys(bucket) == ["begun", "whole"]
        assert "/mnt/oss" not in Path("/proc/self/mountinfo").read_text()


def mounts_of(pid: int) -> str:
    return Path(f"/proc/{pid}/mountinfo").read_text()
