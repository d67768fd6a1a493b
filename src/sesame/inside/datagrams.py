"""Relays UDP datagrams of functions to addresses outside their network, and the answers back.

A socket in the instance's network receives datagrams to any address but the instance's own (`sandbox.network.WayOut`).
Each pair of an inner port and an outer address is a flow with its own socket on the host, so that only that address can
answer. Answers are sent into the instance's network as packets whose source is the outer address.
"""

import contextlib
import functools
import ipaddress
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from sesame.inside.bounds import DATAGRAM_UNITS, Bounds, Client, units_of_datagram
from sesame.inside.paced import Paced
from sesame.inside.refusals import Refusals
from sesame.inside.rules import EgressRules
from sesame.inside.udp import packet
from sesame.model.clocks import SYSTEM_CLOCKS, Clocks, Timer

# Per instance; beyond them the flow that has been silent for the longest time ends.
FLOWS_MAX = 128
# The minimum for stateful firewalls (RFC 4787 §4.3).
SILENT_S = 120.0
DATAGRAM_BYTES_MAX = 65_535
_ORIGINAL = {socket.AF_INET: (socket.SOL_IP, 20), socket.AF_INET6: (socket.IPPROTO_IPV6, 74)}
# After the family: the port, for IPv6 the flow label, then the address.
_ADDRESS = {socket.AF_INET: struct.Struct("!2xH4s"), socket.AF_INET6: struct.Struct("!2xH4x16s")}
_CONTROL_BYTES = socket.CMSG_SPACE(28)


class End(NamedTuple):
    """A packed address and a UDP port."""

    address: bytes
    port: int


class Datagrams:
    """Relays IPv4 or IPv6, according to the version of `source`, the instances' own address.

    Call `serve_answers` for an instance before `serve`.
    """

    def __init__(self, rules: EgressRules, bounds: Bounds, source: str, clocks: Clocks = SYSTEM_CLOCKS) -> None:
        self._rules = rules
        self._bounds = bounds
        self._source = ipaddress.ip_address(source).packed
        self._clocks = clocks
        self._refusals = Refusals(clocks)
        self._answering: dict[str, socket.socket] = {}

    def serve_answers(self, sending: socket.socket, client: str) -> Callable[[], None]:
        """A `sandbox.network.Serve` for a raw socket."""
        self._answering[client] = sending

        def end() -> None:
            del self._answering[client]
            sending.close()

        return end

    def serve(self, receiving: socket.socket, client: str) -> Callable[[], None]:
        """A `sandbox.network.Serve` for a UDP socket that receives datagrams to any address."""
        return _Flows(receiving, self._answering[client], self, self._bounds.of(client)).end

    @property
    def clocks(self) -> Clocks:
        return self._clocks

    def may_reach(self, target: End, client: str) -> bool:
        address = ipaddress.ip_address(target.address)
        permitted = self._rules.permit(address, target.port)
        if not permitted:
            self._refusals.say(client, str(address), target.port)
        return permitted

    def is_instance(self, source: End) -> bool:
        """POLICY: datagrams sent from an address other than the instance's are neither answered nor passed on."""
        return source.address == self._source


class _Flow:
    def __init__(self, outside: socket.socket, used_at: float) -> None:
        self.outside = outside
        self.used_at = used_at
        self.answers: Paced


class _Flows:
    """The flows of one instance."""

    def __init__(self, receiving: socket.socket, answering: socket.socket, of: Datagrams, client: Client) -> None:
        self._receiving = receiving
        self._family = receiving.family
        self._answering = answering
        self._of = of
        self._client = client
        # By source and target, the longest silent flow first.
        self._flows: OrderedDict[tuple[End, End], _Flow] = OrderedDict()
        self._timer: Timer | None = None
        self._from_inside = Paced(receiving, client.passing, self._receive)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._from_inside.end()
        while self._flows:
            self._end_first()

    def _receive(self) -> float:
        data, control, _flags, address = self._receiving.recvmsg(DATAGRAM_BYTES_MAX, _CONTROL_BYTES)
        source = End(socket.inet_pton(self._family, address[0]), address[1])
        for level, kind, value in control:
            if (level, kind) == _ORIGINAL[self._family]:
                port, target = _ADDRESS[self._family].unpack_from(value)
                self._pass_on(data, source, End(target, port))
        return units_of_datagram(data)

    def _pass_on(self, data: bytes, source: End, target: End) -> None:
        flow = self._flows.get((source, target)) or self._open(source, target)
        if flow is not None:
            self._used((source, target), flow)
            # Lost, as on any network.
            with contextlib.suppress(OSError):
                flow.outside.send(data)

    def _open(self, source: End, target: End) -> _Flow | None:
        """None if the target is refused or no capacity is free; the datagram is then lost."""
        if not self._of.is_instance(source) or not target.port or not self._of.may_reach(target, self._client.name):
            return None
        if not self._client.opening.allows():
            return None
        self._client.opening.charge()
        if len(self._flows) >= FLOWS_MAX:
            self._end_first()
        if not self._client.slots.take(self._client.name):
            return None
        try:
            outside = self._connected(target)
        except OSError:
            self._client.slots.give_back(self._client.name)
            return None
        flow = self._flows[source, target] = _Flow(outside, self._of.clocks.monotonic())
        answer = functools.partial(self._answer, flow, source, target)
        flow.answers = Paced(outside, self._client.passing, answer)
        if self._timer is None:
            self._timer = self._of.clocks.call_later(SILENT_S, self._end_silent)
        return flow

    def _connected(self, target: End) -> socket.socket:
        outside = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            outside.setblocking(False)
            outside.connect((socket.inet_ntop(self._family, target.address), target.port))
        except OSError:
            outside.close()
            raise
        return outside

    def _answer(self, flow: _Flow, source: End, target: End) -> float:
        try:
            data = flow.outside.recv(DATAGRAM_BYTES_MAX)
        except (BlockingIOError, InterruptedError):
            raise
        except OSError:
            # The target is unreachable; the function waits, as it would for any silent host.
            return DATAGRAM_UNITS
        self._used((source, target), flow)
        to = (socket.inet_ntop(self._family, source.address), 0)
        # Lost if the function does not read its answers.
        with contextlib.suppress(OSError):
            self._answering.sendto(packet(target, source, data), to)
        return units_of_datagram(data)

    def _used(self, key: tuple[End, End], flow: _Flow) -> None:
        flow.used_at = self._of.clocks.monotonic()
        self._flows.move_to_end(key)

    def _end_silent(self) -> None:
        self._timer = None
        now = self._of.clocks.monotonic()
        while self._flows and next(iter(self._flows.values())).used_at + SILENT_S <= now:
            self._end_first()
        if self._flows:
            first = next(iter(self._flows.values()))
            self._timer = self._of.clocks.call_later(first.used_at + SILENT_S - now, self._end_silent)

    def _end_first(self) -> None:
        _key, flow = self._flows.popitem(last=False)
        flow.answers.end()
        self._client.slots.give_back(self._client.name)
