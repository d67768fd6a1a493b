"""Volumes in the jail: shared by the instances that have them, owned as configured, out of reach for all others.

Run by pytest; as an ordinary user too (test_jail_user.py).
"""

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from tests.runtime.conftest import Stage
from tests.support.jails import ISOLATION, Traces, jail, jail_only, root_only

from sesame.model.nas import NasMount
from sesame.sandbox.interface import Death, SandboxDied, SandboxStartFailed, StartFailure
from sesame.sandbox.jail.driver import JailDriver
from sesame.sandbox.jail.idmaps import exchange
from sesame.sandbox.jail.volumes import VolumeLook, why_not_mounted
from sesame.sandbox.volumes import NasVolumes, Volume

pytestmark = [jail_only, pytest.mark.asyncio(loop_scope="module")]
AS_ROOT = ISOLATION.kind == "root"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[JailDriver]:
    async with jail(tmp_path_factory.mktemp("jail")) as made:
        yield made


@pytest.fixture
def nas(tmp_path: Path) -> NasVolumes:
    return NasVolumes(tmp_path / "nas", {})


def volume(nas: NasVolumes, address: str = "nas:/", target: str = "/mnt/auto", owner: int = 1000) -> Volume:
    return nas.provide(NasMount(server_addr=address, mount_dir=target, user_id=owner, group_id=owner + 1))


async def start(stage: Any, *volumes: Volume) -> Any:
    return await stage.start("files", "index.run", volumes=volumes)


async def run(actor: Any, expression: str) -> Any:
    return await actor.json(expression.encode())


async def test_instances_share_a_volume_that_outlives_them(stage: Any, nas: NasVolumes, tmp_path: Path) -> None:
    first, second = await start(stage, volume(nas)), await start(stage, volume(nas, target="/home/me/data"))
    await run(first, "os.mkdir('/mnt/auto/d') or write('/mnt/auto/d/f', 'one')")
    assert await run(second, "read('/home/me/data/d/f')") == "one"
    assert await run(second, "write('/home/me/data/d/f', 'two')")
    assert await run(first, "read('/mnt/auto/d/f')") == "two"
    await stage.clear()
    kept = tmp_path / "nas" / "nas" / "d" / "f"
    assert kept.read_text() == "two"
    assert await run(await start(stage, volume(nas)), "read('/mnt/auto/d/f')") == "two"


async def test_its_files_are_the_function_s_inside_and_the_configured_ids_on_the_disk(
    stage: Any, nas: NasVolumes, tmp_path: Path
) -> None:
    actor = await start(stage, volume(nas, "nas:/mine"))
    assert await run(actor, "write('/mnt/auto/f', '') and os.stat('/mnt/auto/f').st_uid == os.getuid()")
    found = (tmp_path / "nas" / "nas" / "mine" / "f").stat()
    assert (found.st_uid, found.st_gid) == ((1000, 1001) if AS_ROOT else (os.getuid(), os.getgid()))


@root_only
async def test_files_of_other_ids_are_protected_by_their_modes(stage: Any, nas: NasVolumes) -> None:
    private = await start(stage, volume(nas, owner=1000))
    await run(private, "write('/mnt/auto/f', 'mine') and os.chmod('/mnt/auto/f', 0o600)")
    other = await start(stage, volume(nas, owner=2000))
    assert await run(other, "[os.stat('/mnt/auto/f').st_uid, failure(read, '/mnt/auto/f')]") == [1000, "EACCES"]
    assert await run(await start(stage, volume(nas, owner=1000)), "read('/mnt/auto/f')") == "mine"


async def test_who_does_not_name_it_cannot_reach_it(stage: Any, nas: NasVolumes, tmp_path: Path) -> None:
    await run(await start(stage, volume(nas)), "write('/mnt/auto/secret', '')")
    without = await start(stage)
    assert await run(without, f"[os.listdir('/mnt'), os.path.exists('{tmp_path}')]") == [[], False]
    elsewhere = await start(stage, volume(nas, "nas:/part"))
    assert await run(elsewhere, "[os.listdir('/mnt/auto'), os.path.exists('/mnt/auto/../secret')]") == [[], False]


async def test_links_lead_no_further_than_the_instance_s_own_files(stage: Any, nas: NasVolumes, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    actor = await start(stage, volume(nas))
    links = f"os.symlink('{tmp_path}/outside', '/mnt/auto/a') or os.symlink('../../../outside', '/mnt/auto/b')"
    await run(actor, links)
    assert await run(actor, "[failure(read, '/mnt/auto/' + name) for name in 'ab']") == ["ENOENT", "ENOENT"]


async def test_a_mount_point_that_became_a_link_is_refused(stage: Any, nas: NasVolumes, tmp_path: Path) -> None:
    inner = volume(nas, "nas:/inner")
    (tmp_path / "nas" / "nas" / "inner").rmdir()
    (tmp_path / "nas" / "nas" / "inner").symlink_to("/")
    with pytest.raises(SandboxStartFailed) as failed:
        await start(stage, inner)
    assert failed.value.kind is StartFailure.REFUSED
    assert "'nas:/inner' cannot be mounted at /mnt/auto" in failed.value.cause


@pytest.mark.parametrize("target", ["/data", "/data/deep/er", "/mnt", "/home"])
async def test_any_directory_can_be_the_mount_point(stage: Any, nas: NasVolumes, target: str) -> None:
    actor = await start(stage, volume(nas, target=target), volume(nas, "other:/", "/nas"))
    seen = f"[read('{target}/f') if write('{target}/f', 'x') else 0, os.listdir('/nas')]"
    assert await run(actor, seen) == ["x", []]
    works = "[os.path.exists(each) for each in ('/code/index.py', '/dev/null', '/proc/self/stat', '/usr/lib', '/tmp')]"
    assert await run(actor, works) == [True] * 5
    read_only = "[failure(os.mkdir, each) for each in ('/more', '/code/x', '/usr/x', '/etc/x')]"
    assert await run(actor, read_only) == ["EROFS"] * 4
    assert await run(actor, "write('/tmp/x', 'x') and write('/dev/null', 'x')")
    assert not await run(await start(stage), "os.path.exists('/nas') or os.path.exists('/data')")


async def test_programs_may_be_kept_there_but_get_no_rights_by_their_bits(
    stage: Any, nas: NasVolumes, tmp_path: Path
) -> None:
    actor = await start(stage, volume(nas))
    shutil.copy("/usr/bin/id", tmp_path / "nas" / "nas" / "id")
    (tmp_path / "nas" / "nas" / "id").chmod(0o4755)
    assert await run(actor, "int(os.popen('/mnt/auto/id -u').read()) == os.getuid()")


@root_only
async def test_a_file_system_without_mapped_owners_is_refused_with_the_way_out(stage: Any, tmp_path: Path) -> None:
    proc = Volume("nas:/", Path("/proc"), ("sys",), "/mnt/auto", 1000, 1000)
    with pytest.raises(SandboxStartFailed, match=r"'nas:/' cannot be mounted at /mnt/auto.*\[mounts\]"):
        await start(stage, proc)


@pytest.mark.parametrize(
    ("on_disk", "shown", "expected"),
    [
        (5, 9, ["0 0 5", "5 9 1", "6 6 3", "9 5 1", "10 10 4294967285"]),
        (0, 1, ["0 1 1", "1 0 1", "2 2 4294967293"]),
        (7, 7, ["0 0 4294967295"]),
    ],
)
async def test_an_exchange_keeps_every_other_id(on_disk: int, shown: int, expected: list[str]) -> None:
    assert exchange(on_disk, shown).split("\n") == expected


async def test_who_could_write_to_a_disk_without_room_ends(
    stage: Any, nas: NasVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_volume, without = await start(stage, volume(nas)), await start(stage)
    monkeypatch.setattr(Volume, "shortage", lambda _volume, _reserve_mb: "no room")
    async with asyncio.timeout(60):
        await with_volume.died.wait()
    with pytest.raises(SandboxDied, match="no room") as died:
        await with_volume.invoke(b"1")
    assert died.value.reason is Death.DISK
    assert await run(without, "1") == 1


async def test_a_look_asks_for_each_directory_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def shortage(each: Volume, _reserve_mb: int | None) -> str:
        asked.append(each.name)
        return "no room" if each.name == "full" else ""

    monkeypatch.setattr(Volume, "shortage", shortage)
    roomy, other, filled = (Volume(name, tmp_path, (), f"/mnt/{name}", 1000, 1000) for name in ("a", "b", "full"))
    deeper = msgspec.structs.replace(roomy, parts=("x",), target="/mnt/x")
    with ThreadPoolExecutor(1) as executor:
        look = VolumeLook(executor, None)
        for _instance in range(50):
            assert await look.shortage([roomy, deeper, other]) == ""
            assert await look.shortage([roomy, filled]) == "no room"
        assert sorted(asked) == ["a", "b", "full"]
        # The next look asks anew.
        await VolumeLook(executor, None).shortage([roomy])
    assert len(asked) == 4


@root_only
async def test_what_cannot_be_mounted_is_known_beforehand(tmp_path: Path) -> None:
    assert why_not_mounted(tmp_path) == ""
    assert why_not_mounted(Path("/proc")) != ""


async def test_nothing_is_left_of_the_mounts_and_of_what_makes_them(
    tmp_path: Path, runtime: str, driver: JailDriver
) -> None:
    # What the other tests' driver still makes ahead of use would count as left.
    await driver.settled()
    traces = Traces()
    async with jail(tmp_path / "jail") as own:
        stage = Stage(own, runtime)
        actor = await start(stage, volume(NasVolumes(tmp_path / "nas", {}), target="/data/deep"))
        assert await run(actor, "write('/data/deep/f', 'x')")
        await stage.clear()
    assert await traces.settled() == {}
    assert (tmp_path / "nas" / "nas" / "f").read_text() == "x"


async def test_a_file_system_that_does_not_answer_holds_up_no_end(
    tmp_path: Path, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answered = threading.Event(), threading.Event()
    waited: list[bool] = []

    def hang(_volume: Volume, _reserve_mb: int = 0) -> str:
        asked.set()
        waited.append(answered.wait(60))
        return ""

    async with jail(tmp_path / "jail") as driver:
        await start(Stage(driver, runtime), volume(NasVolumes(tmp_path / "nas", {})))
        monkeypatch.setattr(Volume, "shortage", hang)
        assert await asyncio.to_thread(asked.wait, 60)
    assert waited == []
    answered.set()
