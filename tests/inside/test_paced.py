"""Sockets of one client with more datagrams than it may have read: only as many are looked at as its rate lets go on.

Run by pytest, with clocks that a test moves.
"""

import socket
from functools import partial
from typing import Any

from tests.support.fakes import FakeClocks

from sesame.inside.paced import Paced
from sesame.model.fair_rate import FairRate, Rates

RATES = Rates(each_per_s=100, each_burst=10, all_per_s=300, all_burst=30)
SOCKETS, DATAGRAMS = 100, 6


class Counted(FairRate):
    asked = 0

    def allows(self, bucket: Any) -> bool:
        self.asked += 1
        return super().allows(bucket)


async def test_those_whose_turn_it_is_are_looked_at_and_no_others() -> None:
    clocks, taken = FakeClocks(), []
    rate = Counted(clocks, RATES)
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(SOCKETS)]
    for near, far in pairs:
        near.setblocking(False)
        for _ in range(DATAGRAMS):
            far.send(b"x")

    def take(receiving: socket.socket) -> float:
        receiving.recv(16)
        taken.append(receiving.fileno())
        return 1.0

    paced = [Paced(near, rate.of("a"), partial(take, near)) for near, _far in pairs]
    await clocks.pass_time(4.0)
    assert 10 + 380 <= len(taken) <= 10 + 410
    assert rate.asked <= SOCKETS + 4 * len(taken)
    # None is left out.
    assert len(set(taken)) == SOCKETS
    for each in paced:
        each.end()
    for _near, far in pairs:
        far.close()
    await clocks.pass_time(0.1)
    assert not clocks.timers
