"""What the host answers inside the networks of a node's instances: the writer's endpoints by tunnels, the rest here.

Used by a follower's sandbox driver in the place of `agents.answers`. Names and the way out are this machine's own; a
connection to an endpoint, or to a name of the cloud, is led to the writer unread, with the instance's name.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sesame.cluster import heads
from sesame.cluster.accepting import Accepting
from sesame.cluster.tunnels import Client, Tunnels, Where, close_unheard
from sesame.inside.bounds import CONNECTIONS_MAX
from sesame.model.fair_rate import FairRate
from sesame.sandbox.network import HostAnswers, Inside, Listen, Take

ACCEPTED_AT_ONCE = 16


class NodeAnswers:
    """As `sandbox.network.Answers`. Belongs to the event loop that is running."""

    def __init__(self, tunnels: Tunnels, writer: Where, node: str, arrivals: FairRate, away_s: float) -> None:
        """`arrivals` bounds how many connections of each instance are taken a second."""
        self._tunnels = tunnels
        self._writer = writer
        self._node = node
        self._arrivals = arrivals
        self._away_s = away_s
        self._answers = HostAnswers()
        self._inside = Inside()
        self._taken: Sequence[Listen] = ()
        self._known = asyncio.Event()

    def offered(self, inside: Inside, taken: Sequence[Listen] = ()) -> None:
        """The writer takes connections that came to `taken`. The first one's are what networks of this node have."""
        if not self._known.is_set():
            self._inside, self._taken = inside, taken
            self._known.set()

    def writer_gone(self) -> None:
        """Connections wait for the next one."""

    async def complete(self, offer_own: Callable[[HostAnswers, Mapping[int, Take]], None]) -> None:
        """Waits for a writer's offer, then has `offer_own` add what this machine answers by itself.

        It is also given what takes connections to the writer, by the ports of those that are at one address alone.
        """
        await self._known.wait()
        for listen in self._taken:
            self._answers.offer(listen, self._serving(listen))
        for address in self._inside.addresses:
            self._answers.add_address(address)
        offer_own(
            self._answers,
            {each.port: self._taking(each) for each in self._taken if each.address not in ("0.0.0.0", "::")},
        )
        self._answers.offered()

    async def inside(self) -> Inside:
        return await self._answers.inside()

    def serve(self, listen: Listen, socket: socket.socket, instance: str) -> Callable[[], None]:
        return self._answers.serve(listen, socket, instance)

    async def object_storage(self) -> Take | None:
        """None: functions with buckets run on the writer."""
        return None

    def _taking(self, listen: Listen) -> Take:
        def take(connected: socket.socket, instance: str) -> None:
            name = f"{self._node}, {instance}"
            client = Client(connected, name, b"", close_unheard, CONNECTIONS_MAX)
            self._tunnels.lead(client, heads.Inside(listen, name), self._writer, away_s=self._away_s)

        return take

    def _serving(self, listen: Listen) -> Callable[[socket.socket, str], Callable[[], None]]:
        take = self._taking(listen)

        def serve(listening: socket.socket, instance: str) -> Callable[[], None]:
            share = self._arrivals.of(instance)

            def take_counted(connected: socket.socket, _address: Any) -> None:
                share.charge()
                take(connected, instance)

            def gate(resume: Callable[[], None]) -> Callable[[], object] | None:
                return None if share.allows() else share.wait(resume)

            accepting = Accepting(listening, take_counted, instance, ACCEPTED_AT_ONCE, gate)
            accepting.start()
            # What was accepted ends with the instance.
            return accepting.close

        return serve
