"""Namespaces that exchange owners come from a process of their own, which may be killed and may hang.

Run by pytest.
"""

import os
import signal
from collections.abc import Iterator

import pytest
from tests.support.jails import root_only

from sesame.sandbox.jail.idmaps import IdMaps

pytestmark = root_only


@pytest.fixture
def idmaps() -> Iterator[IdMaps]:
    made = IdMaps()
    yield made
    made.close()


def made_by(idmaps: IdMaps) -> str:
    fd = idmaps.namespace((1000, 10457), (2000, 10457))
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def test_each_request_has_a_namespace_and_all_come_from_one_process(idmaps: IdMaps) -> None:
    assert idmaps.process.pid == 0
    assert made_by(idmaps).startswith("user:[")
    pid = idmaps.process.pid
    assert made_by(idmaps).startswith("user:[")
    assert idmaps.process.pid == pid


def test_one_that_was_killed_is_replaced(idmaps: IdMaps) -> None:
    made_by(idmaps)
    killed = idmaps.process.pid
    os.kill(killed, signal.SIGKILL)
    assert made_by(idmaps).startswith("user:[")
    assert idmaps.process.pid != killed


def test_one_that_hangs_is_given_up_and_its_late_answer_is_no_later_request_s(idmaps: IdMaps) -> None:
    made_by(idmaps)
    hung = idmaps.process.pid
    os.kill(hung, signal.SIGSTOP)
    patience_s, idmaps.process.timeout_s = idmaps.process.timeout_s, 0.1
    with pytest.raises(TimeoutError):
        made_by(idmaps)
    idmaps.process.timeout_s = patience_s
    assert made_by(idmaps).startswith("user:[")
    assert idmaps.process.pid != hung


def test_ids_that_the_kernel_refuses_are_told(idmaps: IdMaps) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        idmaps.namespace((2**32, 1), (1, 1))
    assert made_by(idmaps).startswith("user:[")
