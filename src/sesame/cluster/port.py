"""The agent port of a process: accepts and authenticates connections of other nodes, and hands them on by purpose.

Used by every process of a node, for links and tunnels; `connect` is the connecting side. An unauthenticated peer is
limited to `HANDSHAKE_S` seconds and the bytes of a handshake, and there are at most `UNPROVEN_MAX` of them.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from sesame.cluster.accepting import Accepting
from sesame.cluster.handshake import (
    ANSWER_BYTES,
    LINE,
    OPENING_BYTES,
    PROOF_BYTES,
    Answering,
    NotOfCluster,
    Opening,
    Purpose,
    is_sesame,
)
from sesame.cluster.reading import read_exactly
from sesame.model.errors import PlatformError
from sesame.model.seldom import Seldom

# The handshake is one round trip between machines on one network.
HANDSHAKE_S = 5.0
# POLICY: at UNPROVEN_MAX handshakes, the oldest is dropped for a new one if it has lasted longer than UNPROVEN_S, which
# nodes do not need. If it has not, further connections wait in the kernel.
UNPROVEN_MAX, UNPROVEN_S = 1024, 1.0
ACCEPTED_AT_ONCE = 64
# How long to wait for a place before trying again.
PLACE_PAUSE_S = 0.05
# TCP keep-alive for idle connections: the other machine may have vanished without closing them.
KEEPALIVE_IDLE_S, KEEPALIVE_EVERY_S, KEEPALIVE_TIMES = 10, 5, 3

Address = tuple[str, int]
Take = Callable[[socket.socket, Address], None]
"""Called with an authenticated connection and its peer address. The socket is non-blocking; the callee owns it."""

log = structlog.get_logger("sesame.cluster")


class AgentPort:
    """Used in the running event loop. Call `start` once, later `close`."""

    def __init__(self, listening: socket.socket, key: bytes, takers: Mapping[Purpose, Take]) -> None:
        self._socket = listening
        self._key = key
        self._takers = takers
        self._loop = asyncio.get_running_loop()
        # Handshakes in progress and when each began, the oldest first.
        self._unproven: dict[asyncio.Task[None], float] = {}
        self._accepting = Accepting(listening, self._accepted, "other nodes", ACCEPTED_AT_ONCE, self._for_place)
        self._says = Seldom(self._loop.time)

    @property
    def address(self) -> Address:
        host, port, *_others = self._socket.getsockname()
        return host, port

    def start(self) -> None:
        self._accepting.start()

    def close(self) -> None:
        """Stops accepting and aborts handshakes; connections that were handed on stay open. Idempotent."""
        self._accepting.close()
        for task in self._unproven:
            task.cancel()

    def _accepted(self, accepted: socket.socket, address: Any) -> None:
        task = self._loop.create_task(self._admit(accepted, (str(address[0]), int(address[1]))))
        self._unproven[task] = self._loop.time()
        task.add_done_callback(lambda task: self._ended(task, accepted))

    def _for_place(self, resume: Callable[[], None]) -> Callable[[], object] | None:
        """An `accepting.Gate`."""
        return None if self._has_place() else self._loop.call_later(PLACE_PAUSE_S, resume).cancel

    def _has_place(self) -> bool:
        if len(self._unproven) < UNPROVEN_MAX:
            return True
        oldest, since = next(iter(self._unproven.items()))
        if self._loop.time() - since < UNPROVEN_S:
            return False
        del self._unproven[oldest]
        oldest.cancel()
        return True

    def _ended(self, task: asyncio.Task[None], accepted: socket.socket) -> None:
        self._unproven.pop(task, None)
        if task.cancelled():
            # Closed here because the task may have been cancelled before its first step.
            accepted.close()

    async def _admit(self, accepted: socket.socket, address: Address) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                purpose = await self._prove(accepted)
            _watch(accepted)
        except NotOfCluster as error:
            accepted.close()
            self._tell("a connection to the agent port was refused", str(error), address)
        except (TimeoutError, OSError) as error:
            accepted.close()
            self._tell("a connection to the agent port has ended before the handshake had", repr(error), address)
        else:
            taker = self._takers.get(purpose)
            if taker is None:
                accepted.close()
                self._tell("a connection to the agent port is for what is not served here", purpose.name, address)
            else:
                taker(accepted, address)

    async def _prove(self, accepted: socket.socket) -> Purpose:
        answering, first = Answering(self._key), await read_exactly(accepted, OPENING_BYTES)
        try:
            answer = answering.opened(first)
        except NotOfCluster:
            if is_sesame(first):
                # Lets a node of another version report what is wrong.
                with contextlib.suppress(OSError):
                    accepted.send(LINE)
            raise
        await self._loop.sock_sendall(accepted, answer)
        return answering.proved(await read_exactly(accepted, PROOF_BYTES))

    def _tell(self, what: str, why: str, address: Address) -> None:
        if self._says.may():
            log.warning(what, why=why, address=address[0])


async def connect(address: Address, key: bytes, purpose: Purpose, *, within_s: float = HANDSHAKE_S) -> socket.socket:
    """Returns an authenticated, non-blocking connection to the agent port of another node.

    Raises `OSError` or `TimeoutError` if the node does not answer within `within_s` seconds, and `PlatformError`, such
    as `NotOfCluster`, if it is not a node of this cluster.
    """
    loop = asyncio.get_running_loop()
    host, port = address
    connected = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        connected.setblocking(False)
        async with asyncio.timeout(within_s):
            await loop.sock_connect(connected, (host, port))
            _watch(connected)
            opening = Opening(key, purpose)
            await loop.sock_sendall(connected, opening.first)
            await loop.sock_sendall(connected, opening.answered(await _read_answer(connected)))
    except UnicodeError as error:
        connected.close()
        raise PlatformError(f"{host!r} is no address of a node: {error}") from error
    except NotOfCluster as error:
        connected.close()
        raise NotOfCluster(f"{host}:{port} is no node of this cluster: {error}") from None
    except BaseException:
        connected.close()
        raise
    return connected


async def _read_answer(connected: socket.socket) -> bytes:
    line = await read_exactly(connected, len(LINE))
    # A node of another version sends only its line.
    return line if line != LINE else line + await read_exactly(connected, ANSWER_BYTES - len(LINE))


def _watch(connected: socket.socket) -> None:
    """Sends small messages at once (TCP_NODELAY), and has the kernel detect that the other machine has vanished."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_EVERY_S),
        ("TCP_KEEPCNT", KEEPALIVE_TIMES),
    ):
        # Not defined by POSIX, so a platform may lack them.
        if (option := getattr(socket, name, None)) is not None:
            connected.setsockopt(socket.IPPROTO_TCP, option, value)


def address_of(text: str) -> Address:
    """Parses HOST:PORT as written by `model.host_and_port`. Raises `PlatformError`."""
    host, _colon, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit()):
        raise PlatformError(f"a node is said to be at '{text}'; expected HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)
