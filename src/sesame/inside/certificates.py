"""Chooses a certificate for each TLS connection of a function, for the cloud name that it requests.

Called by `http.listener` before the handshake. A thread creates certificates, at most as fast as `NEW_NAMES`, so that a
function that keeps requesting new names costs the others next to nothing.
"""

import asyncio
import ssl
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import structlog

from sesame.inside.authority import Authority, bare_context
from sesame.model.clocks import SYSTEM_CLOCKS, Clocks
from sesame.model.fair_rate import FairRate, Rates, Share
from sesame.model.seldom import Seldom

# Cached certificates, the most recently used ones.
CONTEXTS_MAX = 256
# POLICY: a certificate takes the thread 3 to 8 ms (2026-11). A starting program requests only a few names.
NEW_NAMES = Rates(each_per_s=10, each_burst=32, all_per_s=40, all_burst=128)
# Connections of one instance that may wait for certificates; further ones are refused.
WAITING_MAX = 16
# Instances whose rates are kept, the most recent ones.
PEERS_MAX = 4096

log = structlog.get_logger("sesame.network")


class Certificates:
    """Implements `http.tls.NamedTls`. POLICY: a name outside the cloud gets the alert `unrecognized_name`."""

    def __init__(
        self,
        authority: Authority,
        clocks: Clocks = SYSTEM_CLOCKS,
        rates: Rates = NEW_NAMES,
        *,
        unnamed: tuple[str, ...] = (),
    ) -> None:
        """`unnamed` are the names in the certificate for clients that send none; if empty, they are refused."""
        self._authority = authority
        self._unnamed = unnamed
        self._clocks = clocks
        self._rate = FairRate(clocks, rates)
        self._peers: OrderedDict[str, _Peer] = OrderedDict()
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()
        self._making: dict[str, asyncio.Future[ssl.SSLContext]] = {}
        # A separate thread, so that no other work of Sesame waits behind it.
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="making-certificates")
        self._refusing = bare_context()
        self._refusing.sni_callback = _refuse

    async def context(self, name: str, peer: str) -> ssl.SSLContext:
        if not (self._authority.may_certify(name) if name else self._unnamed):
            return self._refusing
        kept = self._contexts.get(name)
        if kept is not None:
            self._contexts.move_to_end(name)
            return kept
        asking = self._peer(peer)
        if asking.waiting >= WAITING_MAX:
            self._say(asking, name, peer)
            raise ConnectionRefusedError(f"{peer} requests new names faster than certificates are created")
        asking.waiting += 1
        try:
            return await self._new(name, asking.share)
        finally:
            asking.waiting -= 1

    def close(self) -> None:
        self._maker.shutdown(wait=False, cancel_futures=True)

    async def _new(self, name: str, share: Share) -> ssl.SSLContext:
        if name not in self._making:
            await share.turn()
        if name in self._contexts:
            return self._contexts[name]
        making = self._making.get(name)
        if making is None:
            share.charge()
            names = (name,) if name else self._unnamed
            making = asyncio.get_running_loop().run_in_executor(self._maker, self._authority.context, *names)
            self._making[name] = making
            making.add_done_callback(lambda made: self._made(name, made))
        # Another connection may be waiting for it, too.
        return await asyncio.shield(making)

    def _made(self, name: str, made: "asyncio.Future[ssl.SSLContext]") -> None:
        del self._making[name]
        if made.cancelled():
            return
        if (error := made.exception()) is not None:
            log.error("no certificate could be created for a cloud name", name=name, error=str(error))
            return
        self._contexts[name] = made.result()
        if len(self._contexts) > CONTEXTS_MAX:
            self._contexts.popitem(last=False)

    def _peer(self, name: str) -> "_Peer":
        peer = self._peers.get(name)
        if peer is None:
            peer = self._peers[name] = _Peer(self._rate.of(name), Seldom(self._clocks.monotonic))
            if len(self._peers) > PEERS_MAX:
                self._peers.popitem(last=False)
        self._peers.move_to_end(name)
        return peer

    def _say(self, asking: "_Peer", name: str, peer: str) -> None:
        if asking.says.may():
            log.warning(
                "connections of a function are refused: it asks for new names of the cloud over HTTPS faster than "
                "certificates are made; it may use few names, or HTTP",
                client=peer,
                name=name,
                names_per_s=NEW_NAMES.each_per_s,
            )


class _Peer:
    def __init__(self, share: Share, says: Seldom) -> None:
        self.share = share
        self.waiting = 0
        self.says = says


def _refuse(_connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> int:
    return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
