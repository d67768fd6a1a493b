"""Answers inside the networks of a node's instances: the writer's endpoints through tunnels, everything else locally.

A follower's sandbox driver uses this instead of `agents.answers` in a cluster. Name resolution and the way out are this
machine's own. Connections to an endpoint, or to a name of the cloud, are tunnelled to the writer unread, with the
instance's name.
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
    """Implements `agents.answers.FollowersAnswers`. Used in the running event loop."""

    def __init__(self, tunnels: Tunnels, writer: Where, node: str, arrivals: FairRate, away_s: float) -> None:
        """`arrivals` limits how many connections per second are accepted from each instance."""
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
        """The writer accepts connections made to `taken`. Only the first offer counts for this node's networks."""
        if not self._known.is_set():
            self._inside, self._taken = inside, taken
            self._known.set()

    def writer_gone(self) -> None:
        """Does nothing: connections wait for the next writer in their tunnels."""

    async def complete(self, offer_own: Callable[[HostAnswers, Mapping[int, Take]], None]) -> None:
        """Waits for the first offer, then has `offer_own` add what this machine answers by itself.

        `offer_own` also gets functions that tunnel a connection to the writer, by port, for those services that are
        offered at one address only.
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
        """Returns None: in a cluster, functions with mounted buckets run only on the writer."""
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
            # Accepted connections end with the instance.
            return accepting.close

        return serve
