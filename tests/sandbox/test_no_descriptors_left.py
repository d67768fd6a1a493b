"""Starts of commands and processes while the process is out of descriptors: they are refused, and leave none open."""

import os
from collections.abc import AsyncIterator

import pytest
from tests.support.open_files import descriptors, failing

from sesame.model.command import Command
from sesame.sandbox.exec_streams import Streams
from sesame.sandbox.interface import SandboxStartFailed
from sesame.sandbox.process.spawner import Spawner, Start


@pytest.mark.parametrize("pipes", range(3))
async def test_a_command_without_all_of_its_pipes_leaves_none(monkeypatch: pytest.MonkeyPatch, pipes: int) -> None:
    before = descriptors()
    monkeypatch.setattr(os, "pipe", failing(os.pipe, pipes))
    with pytest.raises(SandboxStartFailed, match="Too many open files"):
        Streams(Command(("true",), stdin=False))
    assert descriptors() == before


@pytest.fixture
async def spawner() -> AsyncIterator[Spawner]:
    made = Spawner()
    made.open()
    yield made
    await made.close()


@pytest.mark.parametrize("duplicates", range(2))
async def test_a_process_whose_descriptors_cannot_be_sent_leaves_none(
    spawner: Spawner, monkeypatch: pytest.MonkeyPatch, duplicates: int
) -> None:
    reading, writing = os.pipe()
    before = descriptors()
    start = Start(instance_id="i", argv=("true",), env={}, cwd="/", limits={})
    with monkeypatch.context() as patch:
        patch.setattr(os, "dup", failing(os.dup, duplicates))
        with pytest.raises(SandboxStartFailed, match="Too many open files"):
            await spawner.spawn(start, (reading, writing), lambda: None)
    assert descriptors() == before
    os.close(reading)
    os.close(writing)
