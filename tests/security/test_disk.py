"""What functions write to /tmp does not take the disk from Sesame's own records."""

import asyncio
from pathlib import Path

import pytest
from tests.runtime.conftest import Stage
from tests.support.interpreters import INTERPRETERS
from tests.support.jails import jail, root_only

from sesame.sandbox.disk_reserve import DiskReserve
from sesame.sandbox.interface import SandboxDied

PATIENCE_S = 60.0
RUNTIME = next(iter(reversed(INTERPRETERS)))


def test_the_reserve_says_what_is_left_and_what_is_kept(tmp_path: Path) -> None:
    assert DiskReserve(tmp_path, 0).shortage() == ""
    assert "free some space" in DiskReserve(tmp_path, 1 << 40).shortage()


@root_only
@pytest.mark.asyncio
@pytest.mark.parametrize("watched", [True, False])
async def test_the_instance_that_holds_most_ends_while_the_reserve_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, watched: bool
) -> None:
    """Without the watch it goes on, and could take all there is."""
    short = asyncio.Event()
    if watched:
        monkeypatch.setattr(DiskReserve, "shortage", lambda _reserve: "no room" if short.is_set() else "")
    async with jail(tmp_path) as driver:
        stage = Stage(driver, RUNTIME)
        small = await stage.start("attacks", "index.disk")
        large = await stage.start("attacks", "index.disk")
        assert (await small.invoke(b'{"mb": 1}')).payload == b"true"
        assert (await large.invoke(b'{"mb": 100}')).payload == b"true"
        short.set()
        if watched:
            async with asyncio.timeout(PATIENCE_S):
                await large.died.wait()
            short.clear()
            with pytest.raises(SandboxDied, match="MB in /tmp; no room"):
                await large.invoke(b'{"mb": 1}')
        else:
            assert (await large.invoke(b'{"mb": 1}')).ok
        assert (await small.invoke(b'{"mb": 1}')).ok
