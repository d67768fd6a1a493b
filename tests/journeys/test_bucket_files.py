"""Buckets as files: an `ossMountConfig`, a real FUSE mount, the official OSS SDK beside it.

Run by pytest, where FUSE can be used.
"""

import base64
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import oss2
import pytest
from tests.journeys.conftest import FUNCTIONS, Sesame, running
from tests.journeys.conftest import run as command
from tests.support.buckets import ROLE, Mounted, bucket_of, keys, new_name, text
from tests.support.interpreters import INTERPRETERS
from tests.support.jails import buckets_only
from tests.support.zips import zip_of

pytestmark = buckets_only
RUNTIMES = tuple(each for each in ("python2.7", "python3.12") if each in INTERPRETERS)
# What depends on how a runtime's own files work is tried with both.
BOTH = pytest.mark.parametrize(
    "runtime", [*(pytest.param(each, marks=pytest.mark.thorough) for each in RUNTIMES[:-1]), *RUNTIMES[-1:]]
)
ONE = pytest.mark.parametrize("runtime", RUNTIMES[-1:])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    with running(tmp_path_factory.mktemp("buckets"), runtime=RUNTIMES) as sesame:
        yield sesame


@pytest.fixture
def bucket(server: Sesame) -> oss2.Bucket:
    made = bucket_of(server, new_name())
    made.create_bucket()
    return made


@BOTH
def test_objects_are_files_and_files_become_objects(server: Sesame, bucket: oss2.Bucket, runtime: str) -> None:
    bucket.put_object("in/a.txt", b"hello")
    run = Mounted(server, bucket.bucket_name, runtime)
    assert run("result = [read('/mnt/oss/in/a.txt'), os.listdir('/mnt/oss'), os.listdir('/mnt/oss/in')]") == [
        "hello", ["in"], ["a.txt"],
    ]  # fmt: skip
    found = run(
        "found = os.stat('/mnt/oss/in/a.txt'); result = [found.st_size, found.st_mtime, found.st_uid == os.getuid()]"
    )
    assert found == [5, bucket.head_object("in/a.txt").last_modified, True]
    run("os.mkdir('/mnt/oss/out'); write('/mnt/oss/out/b.txt', b'one'); write('/mnt/oss/out/b.txt', b' two', 'ab')")
    assert text(bucket, "out/b.txt") == "one two"
    assert keys(bucket) == ["in/a.txt", "out/", "out/b.txt"]
    assert bucket.head_object("out/b.txt").content_type == "text/plain"
    names = ["%41+&=?#", "<&>'", "a b"]
    run(f"os.mkdir('/mnt/oss/names')\nfor name in {names!r}: write('/mnt/oss/names/' + name, b'x')")
    assert keys(bucket)[1:5] == ["names/", *(f"names/{name}" for name in sorted(names))]
    bucket.put_object("names/\N{SNOWMAN}", b"cold")
    assert run("result = [read(u'/mnt/oss/names/\\u2603'), len(os.listdir('/mnt/oss/names'))]") == ["cold", 4]


@BOTH
def test_a_file_is_read_and_changed_in_any_place(server: Sesame, bucket: oss2.Bucket, runtime: str) -> None:
    data = bytes(range(256)) * 4096
    bucket.put_object("f", data)
    run = Mounted(server, bucket.bucket_name, runtime)
    program = """
        with open('/mnt/oss/f', 'rb') as file:
            found = []
            for place in (1000000, 3, 524289):
                file.seek(place)
                found.append(list(bytearray(file.read(3))))
            file.seek(-2, 2)
            found.append(list(bytearray(file.read())))
        result = found
    """
    assert run(program) == [list(data[at : at + 3]) for at in (1000000, 3, 524289)] + [[254, 255]]
    run("""
        with open('/mnt/oss/f', 'r+b') as file:
            file.seek(70000)
            file.write(b'changed')
            file.seek(0, 2)
            file.write(b'end')
    """)
    assert bucket.get_object("f").read() == data[:70000] + b"changed" + data[70007:] + b"end"
    run("""
        with open('/mnt/oss/f', 'r+b') as file:
            file.truncate(3)
    """)
    assert bucket.get_object("f").read() == data[:3]


@BOTH
def test_an_object_is_replaced_as_a_whole_at_fsync_and_close(server: Sesame, bucket: oss2.Bucket, runtime: str) -> None:
    bucket.put_object("f", b"before")
    run = Mounted(server, bucket.bucket_name, runtime)
    run("FOUND['f'] = open('/mnt/oss/f', 'wb', 0); FOUND['f'].write(b'half')")
    assert text(bucket, "f") == "before"
    assert run("result = [read('/mnt/oss/f'), os.path.getsize('/mnt/oss/f')]") == ["half", 4]
    run("os.fsync(FOUND['f'].fileno())")
    assert text(bucket, "f") == "half"
    run("FOUND['f'].write(b' and whole')")
    assert text(bucket, "f") == "half"
    run("FOUND.pop('f').close()")
    assert text(bucket, "f") == "half and whole"
    run("FOUND['new'] = open('/mnt/oss/new', 'wb', 0); FOUND['new'].write(b'x')")
    assert (keys(bucket), run("result = sorted(os.listdir('/mnt/oss'))")) == (["f"], ["f", "new"])
    run("FOUND.pop('new').close()")
    assert keys(bucket) == ["f", "new"]


@ONE
def test_a_child_that_only_inherits_a_file_does_not_end_it(server: Sesame, bucket: oss2.Bucket, runtime: str) -> None:
    run = Mounted(server, bucket.bucket_name, runtime)
    run("""
        import subprocess
        FOUND['f'] = file = open('/mnt/oss/f', 'wb', 0)
        file.write(b'half')
        result = subprocess.call(['true'])
    """)
    assert keys(bucket) == []
    run("FOUND.pop('f').close()")
    assert text(bucket, "f") == "half"
    run("import subprocess; subprocess.call('echo by a child > /mnt/oss/child', shell=True)")
    assert text(bucket, "child") == "by a child\n"


@BOTH
def test_files_and_directories_are_moved_and_removed(server: Sesame, bucket: oss2.Bucket, runtime: str) -> None:
    for key in ("d/one", "d/deep/two", "f", "g"):
        bucket.put_object(key, key.encode())
    run = Mounted(server, bucket.bucket_name, runtime)
    run("os.rename('/mnt/oss/f', '/mnt/oss/g')")
    assert (keys(bucket), text(bucket, "g")) == (["d/deep/two", "d/one", "g"], "f")
    run("os.rename('/mnt/oss/d', '/mnt/oss/e')")
    assert (keys(bucket), text(bucket, "e/deep/two")) == (["e/deep/two", "e/one", "g"], "d/deep/two")
    assert run("result = [read('/mnt/oss/e/one'), os.path.exists('/mnt/oss/d')]") == ["d/one", False]
    failures = run("""
        os.mkdir('/mnt/oss/empty')
        result = [failure(os.rmdir, '/mnt/oss/e'), failure(os.rename, '/mnt/oss/empty', '/mnt/oss/e'),
                  failure(os.rename, '/mnt/oss/g', '/mnt/oss/e'), failure(os.rename, '/mnt/oss/e', '/mnt/oss/g'),
                  failure(os.mkdir, '/mnt/oss/e'), failure(os.remove, '/mnt/oss/no'), failure(os.remove, '/mnt/oss/e'),
                  failure(os.rmdir, '/mnt/oss/g'), failure(os.listdir, '/mnt/oss/no'), failure(read, '/mnt/oss/e'),
                  failure(os.link, '/mnt/oss/g', '/mnt/oss/h'), failure(os.symlink, 'g', '/mnt/oss/h'),
                  failure(os.mkfifo, '/mnt/oss/h'), failure(write, '/mnt/oss/' + 256 * 'n', b'')]
    """)
    assert failures == [
        "ENOTEMPTY", "ENOTEMPTY", "EISDIR", "ENOTDIR", "EEXIST", "ENOENT", "EISDIR", "ENOTDIR", "ENOENT", "EISDIR",
        "EPERM", "EPERM", "EPERM", "ENAMETOOLONG",
    ]  # fmt: skip
    run("os.remove('/mnt/oss/e/deep/two'); result = os.listdir('/mnt/oss/e/deep')")
    run("shutil.rmtree('/mnt/oss/e'); os.rmdir('/mnt/oss/empty'); os.remove('/mnt/oss/g')")
    assert (keys(bucket), run("result = os.listdir('/mnt/oss')")) == ([], [])


@ONE
def test_a_file_that_is_moved_or_removed_while_it_is_open(server: Sesame, bucket: oss2.Bucket, runtime: str) -> None:
    bucket.put_object("old", b"old")
    run = Mounted(server, bucket.bucket_name, runtime)
    run("""
        with open('/mnt/oss/tmp', 'wb', 0) as file:
            file.write(b'new')
            os.rename('/mnt/oss/tmp', '/mnt/oss/moved')
        with open('/mnt/oss/old', 'ab', 0) as file:
            file.write(b' and more')
            os.rename('/mnt/oss/old', '/mnt/oss/older')
        with open('/mnt/oss/gone', 'wb', 0) as file:
            file.write(b'gone')
            os.remove('/mnt/oss/gone')
            file.write(b'!')
            result = os.fstat(file.fileno()).st_size
    """)
    assert {key: text(bucket, key) for key in keys(bucket)} == {"moved": "new", "older": "old and more"}


@pytest.mark.thorough
@ONE
def test_a_directory_of_many_objects(server: Sesame, bucket: oss2.Bucket, runtime: str) -> None:
    with ThreadPoolExecutor(16) as callers:
        list(callers.map(lambda number: bucket.put_object(f"many/{number:04}", b"x"), range(1050)))
    run = Mounted(server, bucket.bucket_name, runtime)
    assert run("result = sorted(os.listdir('/mnt/oss/many'))") == [f"{number:04}" for number in range(1050)]
    assert run("result = failure(os.rename, '/mnt/oss/many', '/mnt/oss/more')") == "EXDEV"
    assert len(keys(bucket)) == 1050


@ONE
def test_what_ossfs_keeps_as_metadata_has_no_effect(server: Sesame, bucket: oss2.Bucket, runtime: str) -> None:
    bucket.put_object("f", b"x")
    run = Mounted(server, bucket.bucket_name, runtime)
    found = run("""
        os.chmod('/mnt/oss/f', 0o600)
        os.chown('/mnt/oss/f', os.getuid(), os.getgid())
        os.utime('/mnt/oss/f', (1, 1))
        found = os.stat('/mnt/oss/f')
        shutil.copy2('/mnt/oss/f', '/mnt/oss/g')
        result = [found.st_mode, found.st_mtime > 1, read('/mnt/oss/g'), os.statvfs('/mnt/oss').f_bavail > 0]
    """)
    assert found == [0o100777, True, "x", True]


@ONE
def test_a_part_of_a_bucket_and_only_for_reading(server: Sesame, bucket: oss2.Bucket, runtime: str) -> None:
    bucket.put_object("a/b/f", b"inside")
    bucket.put_object("a/other", b"outside")
    run = Mounted(server, bucket.bucket_name, runtime, bucketPath="/a/b/", readOnly=True)
    assert run("result = [os.listdir('/mnt/oss'), read('/mnt/oss/f')]") == [["f"], "inside"]
    failures = run("""
        result = [failure(write, '/mnt/oss/f', b''), failure(write, '/mnt/oss/g', b''), failure(os.mkdir, '/mnt/oss/d'),
                  failure(os.remove, '/mnt/oss/f'), failure(os.rename, '/mnt/oss/f', '/mnt/oss/g'),
                  failure(read, '/mnt/oss/../other')]
    """)
    assert failures == ["EROFS"] * 5 + ["ENOENT"]
    assert text(bucket, "a/b/f") == "inside"


@ONE
def test_instances_see_each_other_s_files(server: Sesame, bucket: oss2.Bucket, runtime: str) -> None:
    one, two = Mounted(server, bucket.bucket_name, runtime), Mounted(server, bucket.bucket_name, runtime)
    one("write('/mnt/oss/f', b'first')")
    assert two("result = read('/mnt/oss/f')") == "first"
    one("write('/mnt/oss/f', b'the second')")
    assert two("result = read('/mnt/oss/f')") == "the second"
    two("FOUND['f'] = open('/mnt/oss/f', 'rb', 0); FOUND['f'].read(3)")
    one("write('/mnt/oss/f', b'the third')")
    # What is open stays what it was, or says that it is no more: it is never a mixture.
    assert two("result = failure(FOUND['f'].read)") in ("ESTALE", None)
    two("write('/mnt/oss/f', b' is longer', 'ab')")
    assert text(bucket, "f") == "the third is longer"


@BOTH
def test_a_large_file(server: Sesame, bucket: oss2.Bucket, runtime: str) -> None:
    run = Mounted(server, bucket.bucket_name, runtime)
    run("""
        import hashlib
        piece = bytes(bytearray(range(256))) * 4096
        with open('/mnt/oss/large', 'wb') as file:
            for number in range(64):
                file.write(piece)
        digest = hashlib.md5()
        with open('/mnt/oss/large', 'rb') as file:
            for part in iter(lambda: file.read(1000000), b''):
                digest.update(part)
        result = digest.hexdigest()
    """)
    head = bucket.head_object("large")
    assert head.content_length == 64 * 1024 * 1024
    assert (
        run("import hashlib; result = hashlib.md5(open('/mnt/oss/large', 'rb').read()).hexdigest()")
        == head.etag.lower()
    )


TEMPLATE = """
edition: 1.0.0
name: app
access: default
services:
  one:
    component: fc
    props:
      region: cn-shanghai
      service:
        name: SERVICE
        role: ROLE
        ossMountConfig:
          mountPoints: [{bucketName: BUCKET, bucketPath: /in, endpoint: e, mountDir: /mnt/oss, readOnly: true}]
      function: {name: f, runtime: RUNTIME, handler: index.run, codeUri: ./code}
"""


@ONE
def test_a_template_mounts_a_bucket(server: Sesame, bucket: oss2.Bucket, runtime: str, tmp_path: Path) -> None:
    bucket.put_object("in/f", b"deployed")
    shutil.copytree(FUNCTIONS / "bucket_files", tmp_path / "code")
    service, template = new_name(), TEMPLATE
    for name, value in (("SERVICE", service), ("ROLE", ROLE), ("BUCKET", bucket.bucket_name), ("RUNTIME", runtime)):
        template = template.replace(name, value)
    (tmp_path / "s.yaml").write_text(template)
    assert f"+ service {service}" in command(server, "deploy", tmp_path).stdout
    called = command(server, "invoke", f"{service}/f", "-e", "result = read('/mnt/oss/f')")
    assert called.stdout.strip() == '"deployed"'
    assert f"= service {service}" in command(server, "plan", tmp_path).stdout


@ONE
def test_functions_that_are_given_no_keys_have_their_bucket_all_the_same(
    server: Sesame, bucket: oss2.Bucket, runtime: str
) -> None:
    bucket.put_object("f", b"there")
    name, code = new_name(), (FUNCTIONS / "bucket_files" / "index.py").read_bytes()
    points = [{"bucketName": bucket.bucket_name, "endpoint": "e", "mountDir": "/mnt/oss", "readOnly": True}]
    function = {
        "functionName": name, "runtime": runtime, "handler": "index.run", "role": ROLE,
        "code": {"zipFile": base64.b64encode(zip_of({"index.py": code})).decode()},
        "ossMountConfig": {"mountPoints": points}, "disableInjectCredentials": "All",
    }  # fmt: skip
    api, as_json = server.api(), {"content-type": "application/json"}
    made = api.whole("POST", "/2023-03-30/functions", json.dumps(function), as_json)
    assert made.status_code == 200, made.text
    called = api.whole("POST", f"/2023-03-30/functions/{name}/invocations", "result = read('/mnt/oss/f')", {})
    assert called.json() == "there"
