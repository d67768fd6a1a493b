"""Starts that are given up while a thread still mounts something for them.

Run by pytest.
"""

import asyncio
import os
from pathlib import Path
from threading import Event

import pytest

from sesame.sandbox.interface import ImageRoot
from sesame.sandbox.jail.images import ImageMounts
from sesame.sandbox.jail.policy import JailPolicy
from sesame.sandbox.jail.volumes import VolumeMounts
from sesame.sandbox.volumes import Volume

PATIENCE_S = 10.0


def not_lent(fd: int) -> int:
    raise AssertionError(f"the descriptor {fd} is lent")


async def test_what_is_mounted_too_late_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, closed, may_go = asyncio.Event(), asyncio.Event(), Event()
    loop, (reading, made) = asyncio.get_running_loop(), os.pipe()
    # Readable, at its end, once the other one is closed.
    loop.add_reader(reading, closed.set)

    def slow(_mounts: ImageMounts, _image: ImageRoot, _uid: int) -> int:
        loop.call_soon_threadsafe(began.set)
        assert may_go.wait(PATIENCE_S)
        return made

    monkeypatch.setattr(ImageMounts, "mount", slow)
    image = ImageRoot(name="i", root=tmp_path, user_id=0, group_id=0, home="/", working_dir="/")
    lending = asyncio.create_task(VolumeMounts(JailPolicy()).lend_root(image, 10_000, not_lent))
    await asyncio.wait_for(began.wait(), PATIENCE_S)
    lending.cancel()
    await asyncio.wait({lending})
    may_go.set()
    await asyncio.wait_for(closed.wait(), PATIENCE_S)
    loop.remove_reader(reading)
    os.close(reading)


async def test_what_is_opened_too_late_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, closed, may_go = asyncio.Event(), asyncio.Event(), Event()
    loop, (reading, made) = asyncio.get_running_loop(), os.pipe()
    loop.add_reader(reading, closed.set)

    def slow(_volume: Volume) -> int:
        loop.call_soon_threadsafe(began.set)
        assert may_go.wait(PATIENCE_S)
        return made

    monkeypatch.setattr(Volume, "open", slow)
    volume = Volume(name="v", base=tmp_path, parts=(), target="/mnt/v", user_id=0, group_id=0)
    lending = asyncio.create_task(VolumeMounts(JailPolicy(user_namespace=True)).lend([volume], 10_000, not_lent))
    await asyncio.wait_for(began.wait(), PATIENCE_S)
    lending.cancel()
    await asyncio.wait({lending})
    may_go.set()
    await asyncio.wait_for(closed.wait(), PATIENCE_S)
    loop.remove_reader(reading)
    os.close(reading)
