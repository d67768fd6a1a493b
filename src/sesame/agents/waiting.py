"""Idle connections that an ending agent has left, to be passed on to other agents.

Used by `agents.supervisor`. While no agent can take them they stay open here, and the kernel queues what clients send.
"""

import os
from collections.abc import Mapping, Sequence

from sesame.agents import messages as m
from sesame.agents.supervised import Supervised
from sesame.agents.this_agent import CONNECTIONS_TOGETHER


class Waiting:
    def __init__(self, fds: Mapping[str, Sequence[int]]) -> None:
        """`fds` are descriptors by the name of their endpoint."""
        self._fds = {name: list(those) for name, those in fds.items()}

    def of(self, name: str) -> tuple[int, ...]:
        return tuple(self._fds.get(name, ()))

    def add(self, name: str, fds: Sequence[int]) -> None:
        self._fds.setdefault(name, []).extend(fds)

    def pass_on(self, name: str, takers: Sequence[Supervised]) -> None:
        """Distributes the endpoint's connections evenly over `takers`. Those that cannot be sent stay here."""
        fds = self._fds.get(name, [])
        for number, taker in enumerate(takers):
            part = fds[: -(-len(fds) // (len(takers) - number))]
            while part and taker.send(m.Connections(name), *part[:CONNECTIONS_TOGETHER]):
                close(part[:CONNECTIONS_TOGETHER])
                del fds[: len(part[:CONNECTIONS_TOGETHER])]
                part = part[CONNECTIONS_TOGETHER:]

    def close(self) -> None:
        for fds in self._fds.values():
            close(fds)
            fds.clear()


def close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
