"""The cache of installed packages: old entries go, then the longest unused until the rest is small enough."""

import os
import time
from pathlib import Path

import pytest

from sesame.build import pruning

NOW = 2_000_000_000.0
DAY_S = 86400.0


def entry(cache: Path, name: str, unused_s: float, size: int = 100) -> Path:
    folder = cache / name / "packages"
    folder.mkdir(parents=True)
    (folder / "module.py").write_bytes(b"x" * size)
    os.utime(cache / name, (NOW - unused_s, NOW - unused_s))
    return cache / name


def test_what_no_build_has_used_for_long_is_deleted(tmp_path: Path) -> None:
    old = entry(tmp_path, "old", 91 * DAY_S)
    entry(tmp_path, "recent", 89 * DAY_S)
    left_by_a_killed_command = entry(tmp_path, ".recent.4711.part", 91 * DAY_S)
    assert sorted(pruning.prune(tmp_path, NOW)) == sorted([old, left_by_a_killed_command])
    assert [path.name for path in tmp_path.iterdir()] == ["recent"]


def test_beyond_the_size_the_longest_unused_go_but_none_that_may_be_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BYTES_MAX", 250)
    entry(tmp_path, "new", DAY_S)
    gone = [entry(tmp_path, "older", 3 * DAY_S), entry(tmp_path, "oldest", 4 * DAY_S)]
    entry(tmp_path, "second", 2 * DAY_S)
    assert pruning.prune(tmp_path, NOW) == gone
    for number in range(5):
        entry(tmp_path, f"at work {number}", 60.0)
    assert {path.name for path in pruning.prune(tmp_path, NOW)} == {"new", "second"}


def test_use_makes_an_entry_new_again(tmp_path: Path) -> None:
    old = entry(tmp_path, "old", 91 * DAY_S)
    os.utime(old, (0, 0))
    pruning.used(old)
    assert pruning.prune(tmp_path, time.time()) == []
