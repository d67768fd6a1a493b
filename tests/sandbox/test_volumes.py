"""Directories of NAS servers: one for each address, made at first use, and no way out of them.

Run by pytest.
"""

import os
from pathlib import Path

import pytest

from sesame.model.errors import ConfigurationError
from sesame.model.nas import NasAddress, NasMount, parse_server_address
from sesame.sandbox.volumes import DEFAULT_ID, NasVolumes, VolumeUnavailable

SERVER = "0123-abc.cn-shanghai.nas.aliyuncs.com"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")


def mount(address: str, user_id: int = 1000, group_id: int = 2000) -> NasMount:
    return NasMount(server_addr=address, mount_dir="/mnt/auto", user_id=user_id, group_id=group_id)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (f"{SERVER}:/", NasAddress(SERVER, ())),
        (SERVER, NasAddress(SERVER, ())),
        ("NAS.example:/a//b/./c/", NasAddress("nas.example", ("a", "b", "c"))),
        ("nas:/a/../b", None),
        ("nas:a", None),
        ("../x:/", None),
        ("..", None),
        ("", None),
        ("nas:/a\0b", None),
        ("nas:/" + "a" * 256, None),
        ("a/b:/", None),
    ],
)
def test_addresses(address: str, expected: NasAddress | None) -> None:
    assert parse_server_address(address) == expected


def test_a_path_of_a_server_lies_within_the_server_s_root(tmp_path: Path) -> None:
    volumes = NasVolumes(tmp_path / "nas", {})
    inner = volumes.provide(mount(f"{SERVER}:/a/b"))
    volumes.provide(mount(f"{SERVER}:/"))
    assert (tmp_path / "nas" / SERVER / "a" / "b").is_dir()
    assert (inner.base, inner.parts) == (tmp_path / "nas", (SERVER, "a", "b"))
    assert (tmp_path / "nas").stat().st_mode & 0o777 == 0o700


def test_of_several_machines_there_are_named_directories_alone(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    volumes = NasVolumes(None, {f"{SERVER}:/pictures": tmp_path / "shared"})
    assert volumes.provide(mount(f"{SERVER}:/pictures/a")).base == tmp_path / "shared"
    for address in (f"{SERVER}:/", "other.nas.aliyuncs.com:/pictures"):
        with pytest.raises(VolumeUnavailable, match="in `mounts` of every node"):
            volumes.provide(mount(address))


@AS_ROOT
def test_what_is_made_belongs_to_the_configured_ids_and_what_is_there_stays(tmp_path: Path) -> None:
    volumes = NasVolumes(tmp_path, {})
    volumes.provide(mount("nas:/data", 1000, 2000))
    volumes.provide(mount("nas:/data", 1, 1))
    found = (tmp_path / "nas" / "data").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (1000, 2000, 0o777)
    left = volumes.provide(mount("nas:/other", -1, -1))
    assert (left.user_id, left.group_id) == (DEFAULT_ID, DEFAULT_ID)


def test_named_directories_stand_for_servers_and_paths_the_longest_name_counts(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    whole.mkdir()
    part.mkdir()
    volumes = NasVolumes(tmp_path / "nas", {SERVER: whole, f"{SERVER}:/a/b": part})
    assert (volumes.provide(mount(f"{SERVER}:/a")).base, (whole / "a").is_dir()) == (whole, True)
    found = volumes.provide(mount(f"{SERVER}:/a/b/c"))
    assert (found.base, found.parts, (part / "c").is_dir()) == (part, ("c",), True)
    assert not (tmp_path / "nas").exists()


def test_root_s_files_are_another_s_in_a_directory_that_others_may_see(tmp_path: Path) -> None:
    found = NasVolumes(tmp_path / "nas", {"nas": tmp_path}).provide(mount("nas:/", 0, 0))
    owner = tmp_path.stat()
    assert (found.user_id, found.group_id) == (owner.st_uid or DEFAULT_ID, owner.st_gid or DEFAULT_ID)


def test_a_link_that_a_function_left_is_not_followed(tmp_path: Path) -> None:
    volumes = NasVolumes(tmp_path / "nas", {})
    volumes.provide(mount("nas:/"))
    (tmp_path / "secret").mkdir()
    (tmp_path / "nas" / "nas" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "nas" / "nas" / "file").touch()
    for path in ("out", "out/deeper", "file"):
        with pytest.raises(VolumeUnavailable, match="cannot be mounted at /mnt/auto"):
            volumes.provide(mount(f"nas:/{path}"))
    assert list((tmp_path / "secret").iterdir()) == []


def test_a_link_that_appears_later_is_not_followed(tmp_path: Path) -> None:
    volume = NasVolumes(tmp_path / "nas", {}).provide(mount("nas:/a"))
    (tmp_path / "nas" / "nas" / "a").rmdir()
    (tmp_path / "nas" / "nas" / "a").symlink_to(tmp_path)
    with pytest.raises(VolumeUnavailable):
        volume.open()


def test_names_that_cannot_stand_for_a_server_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="which is no directory"):
        NasVolumes(tmp_path, {SERVER: tmp_path / "missing"})
    with pytest.raises(ConfigurationError, match="expected SERVER:/PATH"):
        NasVolumes(tmp_path, {"a/../b": tmp_path})
    (tmp_path / "inner").mkdir()
    with pytest.raises(ConfigurationError, match="none is in another"):
        NasVolumes(tmp_path, {"inner": tmp_path / "inner", "outer": tmp_path})
    NasVolumes(tmp_path, {"one": tmp_path, "same": tmp_path})


def test_a_directory_that_was_removed_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    volumes = NasVolumes(tmp_path, {SERVER: gone})
    volume = volumes.provide(mount(f"{SERVER}:/"))
    gone.rmdir()
    assert volume.shortage() == ""
    with pytest.raises(VolumeUnavailable, match="make it anew"):
        volumes.provide(mount(f"{SERVER}:/"))


def test_an_address_that_was_kept_before_it_was_checked_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(VolumeUnavailable, match="update the service"):
        NasVolumes(tmp_path, {}).provide(mount("nas:/../.."))


def test_nothing_is_mounted_from_a_disk_without_room(tmp_path: Path) -> None:
    with pytest.raises(VolumeUnavailable, match=r"the disk of 'nas:/' has .* free some space"):
        NasVolumes(tmp_path, {}, reserve_mb=1 << 40).provide(mount("nas:/"))
    assert list(tmp_path.iterdir()) == []
