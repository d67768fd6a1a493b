"""The file that has the key of a cluster."""

import os
import stat
from pathlib import Path

import pytest

from sesame.cluster.keys import KEY_BYTES, make_key, read_key
from sesame.model.errors import ConfigurationError


def test_a_key_is_made_for_its_owner_alone_and_is_another_each_time(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        for name in ("a", "b"):
            make_key(tmp_path / name)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    keys = {read_key(tmp_path / "a"), read_key(tmp_path / "b")}
    assert {len(key) for key in keys} == {KEY_BYTES}
    assert len(keys) == 2


def test_a_key_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cluster.key"
    make_key(path)
    key = read_key(path)
    with pytest.raises(ConfigurationError, match="a cluster has one key"):
        make_key(path)
    assert read_key(path) == key
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError):
        make_key(tmp_path / "link")
    with pytest.raises(ConfigurationError, match="choose another file"):
        make_key(tmp_path / "nowhere" / "cluster.key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "cluster.key"
    make_key(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"mode {mode:04o}.*chmod 600"):
        read_key(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's file is made by root alone")
def test_a_key_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cluster.key"
    make_key(path)
    os.chown(path, 12345, -1)
    with pytest.raises(ConfigurationError, match="belongs to user 12345"):
        read_key(path)


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "zz" * 32, "é" * 64, "00" * 5000])
def test_what_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cluster.key"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="is not a key of a cluster"):
        read_key(path)


def test_what_is_no_file_or_not_there_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="sesame cluster key"):
        read_key(tmp_path / "cluster.key")
    with pytest.raises(ConfigurationError, match="is not a file"):
        read_key(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigurationError, match="is not a file"):
        read_key(tmp_path / "pipe")
