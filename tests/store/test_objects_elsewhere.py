"""A Sesame whose objects and code are in an S3-speaking store: what it keeps, refuses, checks, copies and gets over.

Run by pytest, with a real server. What holds of objects wherever their bytes are is in tests/store/test_objects.py.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support.data_directory import CODE, Stores, fill, filled
from tests.support.faulty_proxy import FaultyProxy
from tests.support.s3 import Store, own_store
from tests.support.starts import refused, start_and_stop
from tests.support.zips import zip_of

from sesame.cli.backup import backup
from sesame.cli.backup import restore as restore_command
from sesame.cli.doctor import doctor
from sesame.data_dir import DataDir
from sesame.model.errors import ConfigurationError, StoreUnavailable
from sesame.model.object import ObjectKind
from sesame.store.blobs import bucket as bucket_module
from sesame.store.blobs.bucket import Bucket
from sesame.store.blobs.location import parse_location
from sesame.store.blobs.ownership import MARK, OBJECTS_FILE
from sesame.store.blobs.segments import DATA, PACKAGES, SEGMENT_BYTES
from sesame.store.upkeep.backup import back_up, restore
from sesame.store.upkeep.check import check
from sesame.store.upkeep.damage import Checked, Damage

pytestmark = pytest.mark.usefixtures("few_runtimes")

LARGE = bytes(range(256)) * 5000
# Long enough for several tries.
RETRY_FOR_S = 0.3


async def paths_in(url: str, folder: str = "") -> list[str]:
    return sorted(each.path for each in await Bucket(parse_location(url)).listing(folder))


async def test_a_machine_that_is_lost_takes_nothing_with_it(tmp_path: Path, postgresql_url: str, s3_url: str) -> None:
    account = await start_and_stop(tmp_path / "first", postgresql_url, s3_url)
    stores = Stores(tmp_path / "first", postgresql_url, s3_url)
    await stores.open()
    await fill(stores)
    await stores.close()
    assert not list((tmp_path / "first" / "objects").rglob("*.*"))
    shutil.rmtree(tmp_path / "first")
    assert await start_and_stop(tmp_path / "second", postgresql_url, s3_url) == account
    again = Stores(tmp_path / "second", postgresql_url, s3_url)
    await again.open()
    assert await again.read("small") == b"small"
    assert await again.read("large") == LARGE
    assert await again.read("log") == b"first line\nsecond line\n"
    function = again.catalog.get("function", "s", "f").document  # type: ignore[union-attr]
    lease = await again.packages.lease([function.package.sha256])
    assert (lease.code_dirs[0] / "data" / "a.txt").read_text() == CODE["data/a.txt"]
    lease.release()
    assert await again.packages.fetched_archive(function.package) is not None
    await again.close()


async def test_what_does_not_belong_together_is_refused(
    tmp_path: Path, postgresql_url: str, s3_store: Store, s3_url: str
) -> None:
    data = tmp_path / "data"
    account = await start_and_stop(data, None, s3_url)
    assert await start_and_stop(data, None, s3_url) == account
    assert "secret" not in (data / OBJECTS_FILE).read_text()
    await refused(data, None, None, r"are in s3://.*name that place with --objects, or bring them back")
    wrong_key = s3_url.replace("secret-of-tester", "another")
    await refused(tmp_path / "other", postgresql_url, wrong_key, "the objects cannot be reached: .*403")
    stores = Stores(data, None, s3_url)
    await stores.open()
    await fill(stores)
    await stores.close()
    await refused(tmp_path / "other", postgresql_url, s3_url, "has the objects of the database .*, and .* has none")
    await refused(data, None, s3_store.new_url(), "whose bytes are not in s3://.*name the right place")
    foreign = s3_store.new_url()
    await Bucket(parse_location(foreign)).put("theirs", b"x")
    await refused(tmp_path / "third", None, foreign, "holds something already that is not Sesame's")
    second = s3_store.new_url()
    await start_and_stop(tmp_path / "second", None, second)
    await refused(tmp_path / "second", None, s3_url, "belongs to other objects: name those that belong together")


async def test_objects_in_files_are_not_left_behind_by_naming_a_bucket(tmp_path: Path, s3_url: str) -> None:
    await asyncio.to_thread(filled, tmp_path / "data")
    await refused(tmp_path / "data", None, s3_url, "whose bytes are not in s3://.*sesame backup")
    assert await paths_in(s3_url) == []


async def test_a_start_that_was_killed_between_the_two_numbers_is_made_up_for(tmp_path: Path, s3_url: str) -> None:
    account = await start_and_stop(tmp_path / "data", None, s3_url)
    await Bucket(parse_location(s3_url)).delete([MARK])
    assert await start_and_stop(tmp_path / "data", None, s3_url) == account
    assert await paths_in(s3_url) == [MARK]


@pytest.fixture
def kept(tmp_path: Path, s3_url: str) -> DataDir:
    """A filled data directory whose objects are elsewhere."""
    return filled(tmp_path / "data", None, s3_url)


def damage_of(data_dir: DataDir, checked: Checked | None = None) -> list[Damage]:
    return [each for each in check(data_dir, checked or Checked(), running=False) if not each.harmless]


def test_a_sound_bucket_passes(kept: DataDir) -> None:
    checked = Checked()
    assert damage_of(kept, checked) == []
    assert (checked.records, checked.blobs, checked.packages) == (4, 6, 2)


async def overwrite(url: str, path: str) -> None:
    bucket = Bucket(parse_location(url))
    data = (await bucket.get(path)).data
    await bucket.put(path, bytes([data[0] ^ 1]) + data[1:])


DAMAGE: dict[str, tuple[str, Callable[[str, str], object], str]] = {
    "missing": (DATA, lambda url, path: Bucket(parse_location(url)).delete([path]), "is missing"),
    "short": (DATA, lambda url, path: Bucket(parse_location(url)).put(path, b""), "bytes instead of"),
    "changed": (DATA, overwrite, "has other bytes than were stored: the CRC-64 differs"),
    "unknown": (
        DATA,
        lambda url, _path: Bucket(parse_location(url)).put(f"{DATA}/feed/000000", b"x"),
        "1 blobs that no row of the database mentions: feed",
    ),
    "archive missing": (PACKAGES, lambda url, path: Bucket(parse_location(url)).delete([path]), "archive is missing"),
    "archive changed": (PACKAGES, overwrite, "is damaged: the SHA-256 differs"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_in_a_bucket_is_found(kept: DataDir, s3_url: str, kind: str) -> None:
    folder, act, says = DAMAGE[kind]

    async def damage() -> None:
        found = await Bucket(parse_location(s3_url)).listing(folder)
        largest = max(found, key=lambda each: each.size)
        await act(s3_url, largest.path)  # type: ignore[misc]

    asyncio.run(damage())
    found = damage_of(kept)
    assert len(found) == 1, found
    assert says in found[0].what


def test_a_backup_moves_objects_to_files_and_to_another_bucket(
    kept: DataDir, tmp_path: Path, s3_store: Store, postgresql_url: str
) -> None:
    back_up(kept, tmp_path / "backup")
    restore(tmp_path / "backup", DataDir(tmp_path / "files"))
    assert damage_of(DataDir(tmp_path / "files")) == []
    other = s3_store.new_url()
    moved = DataDir(tmp_path / "moved", postgresql_url, other)
    restore(tmp_path / "backup", moved)
    assert damage_of(moved) == []
    with pytest.raises(ConfigurationError, match="is not empty"):
        restore(tmp_path / "backup", DataDir(tmp_path / "more", None, other))
    asyncio.run(start_and_stop(tmp_path / "moved", postgresql_url, other))
    asyncio.run(start_and_stop(tmp_path / "files", None, None))


def test_a_restore_that_fails_leaves_nothing_in_the_bucket(kept: DataDir, tmp_path: Path, s3_store: Store) -> None:
    back_up(kept, tmp_path / "backup")
    next((tmp_path / "backup" / "packages").iterdir()).write_bytes(b"damaged")
    other = s3_store.new_url()
    with pytest.raises(ConfigurationError, match="is damaged"):
        restore(tmp_path / "backup", DataDir(tmp_path / "restored", None, other))
    assert asyncio.run(paths_in(other)) == []
    assert not (tmp_path / "restored").exists()


@pytest.fixture
async def stores(
    tmp_path: Path, s3_store: Store, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stores]:
    """Stores behind the proxy, which try again for a moment."""
    monkeypatch.setattr(bucket_module, "RETRY_FOR_S", RETRY_FOR_S)
    stores = Stores(tmp_path / "data", None, s3_store.new_url(proxy.endpoint))
    await stores.open()
    await fill(stores)
    yield stores
    proxy.heal()
    await stores.close()


@pytest.mark.parametrize(
    "fault", [503, 403, *(pytest.param(fault, marks=pytest.mark.thorough) for fault in (500, 507, "silent"))]
)
async def test_a_store_that_fails_is_said_and_nothing_is_lost(
    stores: Stores, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, fault: int | str
) -> None:
    reader = await stores.objects.open_reader("photos", "large")
    assert reader is not None
    if isinstance(fault, int):
        proxy.status = fault
    else:
        proxy.silent = True
        monkeypatch.setattr(bucket_module, "REQUEST_TIMEOUT_S", 1.0)
    with pytest.raises(StoreUnavailable):
        await stores.put("new", b"new")
    with pytest.raises(StoreUnavailable):
        await stores.put("small", b"larger" * SEGMENT_BYTES)
    with pytest.raises(StoreUnavailable):
        await stores.append("log", b"third\n", 23)
    with pytest.raises(StoreUnavailable):
        await stores.objects.open_reader("photos", "small")
    with pytest.raises(StoreUnavailable):
        await reader.read(0, 100)
    with pytest.raises(StoreUnavailable):
        await stores.packages.add(zip_of({"index.py": "x = 1"}), "python3")
    # The row is gone, which is what was asked for; the bytes go later.
    await stores.objects.delete("photos", ["joined"])
    await stores.objects.removals.settled()
    proxy.heal()
    monkeypatch.setattr(bucket_module, "REQUEST_TIMEOUT_S", 60.0)
    assert await reader.read(0, len(LARGE)) == LARGE
    reader.close()
    assert await stores.objects.head("photos", "new") is None
    assert await stores.read("small") == b"small"
    await stores.append("log", b"third\n", 23)
    assert await stores.read("log") == b"first line\nsecond line\nthird\n"
    await stores.put("new", b"new")
    assert await stores.read("new") == b"new"
    await stores.objects.removals.retry()
    await stores.objects.removals.settled()
    names = {path.split("/")[1] for path in await paths_in(stores.data_dir.bucket or "", DATA)}
    assert len(names) == 6


async def test_only_the_range_that_is_asked_for_is_fetched(stores: Stores, proxy: FaultyProxy) -> None:
    data = bytes(range(251)) * (3 * SEGMENT_BYTES // 251)
    await stores.put("long", data)
    reader = await stores.objects.open_reader("photos", "long")
    assert reader is not None
    proxy.seen.clear()
    assert await reader.read(SEGMENT_BYTES - 10, 20) == data[SEGMENT_BYTES - 10 : SEGMENT_BYTES + 10]
    assert len(proxy.seen) == 2
    reader.expect(5, 3_000_000)
    found = b""
    while len(found) < 3_000_000:
        found += await reader.read(5 + len(found), 100_000)
    assert found[:3_000_000] == data[5:3_000_005]
    assert len(proxy.seen) <= 6
    reader.close()


async def test_an_append_that_comes_late_does_not_replace_what_was_appended_since(
    stores: Stores, proxy: FaultyProxy
) -> None:
    """As one of a process that was killed, whose last request was still on its way."""
    blobs, head = stores.objects.blobs, await stores.objects.head("photos", "log")
    assert head is not None
    late, current = await stores.written(b"late"), await stores.written(b"current")
    bucket = Bucket(parse_location(stores.data_dir.bucket or ""))
    path = f"{DATA}/{head.blob}/000000"
    tag = (await bucket.get(path)).tag
    await blobs.extend(head.blob, head.size, head.crc64, current)
    with pytest.raises(bucket_module.Conflict):
        await bucket.put_if(path, b"first line\nsecond line\nlate", tag)
    assert (await bucket.get(path)).data == b"first line\nsecond line\ncurrent"
    # The row was not written: what the next append puts there counts.
    await blobs.extend(head.blob, head.size, head.crc64, late)
    assert (await bucket.get(path)).data == b"first line\nsecond line\nlate"
    for each in (late, current):
        await stores.objects.discard(each)


async def test_appending_goes_on_over_segments(stores: Stores) -> None:
    whole = b""
    for turn in range(4):
        piece = bytes([65 + turn]) * (SEGMENT_BYTES // 2 + 7)
        grown = await stores.append("grown", piece, len(whole))
        whole += piece
        assert (grown.kind, grown.size) == (ObjectKind.APPENDABLE, len(whole))
    assert await stores.read("grown") == whole


def test_the_commands_take_the_place_and_name_it_where_it_is_missing(
    kept: DataDir, tmp_path: Path, s3_store: Store, s3_url: str
) -> None:
    asyncio.run(start_and_stop(kept.path, None, s3_url))
    here, there = ["--data-dir", str(kept.path)], ["--objects", s3_url]
    sound = CliRunner().invoke(doctor, ["--check", *here, *there])
    assert sound.exit_code == 0, sound.output
    assert "all sound" in sound.output
    copied = CliRunner().invoke(backup, [str(tmp_path / "copy"), *here, *there])
    assert copied.exit_code == 0, copied.output
    for command, arguments in ((doctor, ["--check", *here]), (backup, [str(tmp_path / "more"), *here])):
        said = CliRunner().invoke(command, arguments)
        assert isinstance(said.exception, ConfigurationError)
        assert "name that place with --objects" in str(said.exception)
    place = s3_store.new_url()
    restored = CliRunner().invoke(
        restore_command, [str(tmp_path / "copy"), "--data-dir", str(tmp_path / "new"), "--objects", place]
    )
    assert restored.exit_code == 0, restored.output
    assert "--objects …" in restored.output
    assert "secret" not in sound.output + copied.output + restored.output


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://bucket/prefix", "no URL of a bucket"),
        ("s3://", "no URL of a bucket"),
        ("s3://Bucket_/x", "no URL of a bucket"),
        ("s3://bucket/a//b", "between single slashes"),
        ("s3://bucket/../b", "between single slashes"),
        ("s3://bucket/a?colour=red", "says colour; expected endpoint"),
        ("s3://bucket/a?endpoint=localhost", "is no URL; expected http://HOST:PORT"),
        ("s3://bucket/a?access_key_id=k", "access_key_id and secret_access_key of objects is missing"),
    ],
)
def test_a_setting_that_is_no_place_is_refused_without_being_repeated(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        parse_location(url, {})


def test_what_the_url_does_not_say_is_in_the_environment() -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token",
        "AWS_ENDPOINT_URL": "http://s3.example:9000", "AWS_REGION": "eu-west-1",
    }  # fmt: skip
    found = parse_location("s3://bucket/prefix?region=us-west-2", environ)
    assert (found.bucket, found.prefix, found.shown) == ("bucket", "prefix", "s3://bucket/prefix")
    assert found.items["endpoint"] == "http://s3.example:9000"
    assert found.items["region"] == "us-west-2"
    assert found.items["session_token"] == "token"
    own = parse_location("s3://bucket?access_key_id=other&secret_access_key=theirs", environ)
    assert (own.items["access_key_id"], own.shown) == ("other", "s3://bucket")
    assert "session_token" not in own.items


async def test_a_token_of_the_environment_does_not_go_with_a_key_of_the_url(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-another-key")
    bucket = Bucket(parse_location(s3_url))
    await bucket.put("k", b"data")
    assert (await bucket.get("k")).data == b"data"


@pytest.mark.thorough
async def test_many_large_objects_come_and_go_at_a_time(stores: Stores) -> None:
    contents = {f"many{n}": bytes([n]) * (SEGMENT_BYTES + n) for n in range(12)}
    await asyncio.gather(*(stores.put(key, data) for key, data in contents.items()))
    found = await asyncio.gather(*(stores.read(key) for key in contents))
    assert found == list(contents.values())


async def test_a_bucket_that_is_not_there_is_said(stores: Stores, proxy: FaultyProxy) -> None:
    proxy.status = 404
    bucket = Bucket(parse_location(stores.data_dir.bucket or ""))
    with pytest.raises(StoreUnavailable, match="there is no such bucket"):
        await bucket.put("k", b"data")
    with pytest.raises(StoreUnavailable, match="404 Not Found"):
        await bucket.listing("")


def test_doctor_says_whether_the_place_answers(tmp_path: Path, s3_url: str) -> None:
    here = ["--data-dir", str(tmp_path), "--sandbox", "plain"]
    good = CliRunner().invoke(doctor, [*here, "--objects", s3_url])
    assert "it answers, empty" in good.output
    bad = CliRunner().invoke(doctor, [*here, "--objects", s3_url.replace("secret-of-tester", "another")])
    assert bad.exit_code == 1
    assert "the objects cannot be reached" in bad.output.replace("\n", " ")
    assert "another" not in bad.output


@pytest.mark.thorough
async def test_a_store_that_was_killed_is_found_again_with_what_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "RETRY_FOR_S", RETRY_FOR_S)
    with own_store() as store:
        stores = Stores(tmp_path / "data", None, store.new_url())
        await stores.open()
        await fill(stores)
        store.kill()
        with pytest.raises(StoreUnavailable):
            await stores.put("new", b"new")
        with pytest.raises(StoreUnavailable):
            await stores.read("large")
        await asyncio.to_thread(store.start)
        assert await stores.read("large") == LARGE
        await stores.put("new", b"new")
        assert await stores.read("new") == b"new"
        await stores.close()
