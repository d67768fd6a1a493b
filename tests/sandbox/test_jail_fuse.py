"""Who mounts buckets at each isolation level, and what is said where nobody may."""

import os
import stat
from pathlib import Path

import pytest
from tests.support.jails import buckets_only, root_only

from sesame.sandbox.jail import buckets
from sesame.sandbox.jail.buckets import BucketMounts
from sesame.sandbox.jail.fuse_mounts import FuseMounts
from sesame.sandbox.jail.isolation import Isolation
from sesame.sandbox.network import HostAnswers


@buckets_only
@root_only
@pytest.mark.parametrize("user_namespace", [False, True], ids=["root", "user"])
def test_a_mount_and_its_device_are_made(user_namespace: bool) -> None:
    fuse = FuseMounts(user_namespace=user_namespace)
    try:
        made = fuse.mount(fuse.owner(10_457), read_only=True)
        assert stat.S_ISCHR(os.fstat(made.device).st_mode)
        # Asked about what is mounted, the kernel would wait for whoever serves it.
        assert "mnt_id" in Path(f"/proc/self/fdinfo/{made.mount}").read_text()
        made.close()
    finally:
        fuse.close()


def test_in_a_user_namespace_files_are_whoever_s_who_runs_sesame() -> None:
    assert FuseMounts(user_namespace=True).owner(10_457) == (os.getuid(), os.getgid())
    assert FuseMounts(user_namespace=False).owner(10_457) == (10_457, 10_457)


@pytest.mark.parametrize(
    ("device", "said"),
    [("missing", "FUSE cannot be used here: no such device; load the kernel's module"), ("closed", "chmod 666")],
)
def test_why_none_can_be_mounted_is_told(
    device: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.touch()
    monkeypatch.setattr(buckets, "FUSE_DEVICE", str(tmp_path / device))
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    mounts = BucketMounts(tmp_path, HostAnswers.none())
    mounts.open(Isolation("user", no_buckets="no such device"))
    assert said in mounts.problem
    mounts.open(Isolation("user"))
    assert mounts.problem == ""
