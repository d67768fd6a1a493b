"""Takes and keeps the leadership of a cluster: a candidate waits for it, the leader renews its row or ends.

Used by the process of a node that is to become the writer. A leader that could not renew in time, by its own clock,
ends at once, because another may lead by then. A separate thread renews, so that the leadership is not lost if the
event loop is blocked for a while; if it is blocked for HANGS_S, the thread stops renewing.
"""

import asyncio
import threading
from collections.abc import Callable

import structlog

from sesame.cluster.rules import BEAT_S, EXPIRED_S, GRACE_S, Lead, Unrenewed
from sesame.cluster.sameness import Same, decoded, difference, encoded
from sesame.model.clocks import Clocks, Timer
from sesame.model.errors import ConfigurationError, PlatformError
from sesame.store.sql.leadership import Leadership, Seen
from sesame.store.sql.migrate import known_migrations

# How often the writer checks whether it still leads.
LOOKS_EVERY_S = 0.25
# POLICY: a writer whose event loop has been blocked for this long stops renewing, so that another node can lead.
HANGS_S = 15.0

# POLICY: the settings of a leader that has not renewed for this long no longer bind others, as no node with the same
# settings has taken its place.
FORGOTTEN_S = 3 * EXPIRED_S

log = structlog.get_logger("sesame.cluster")


class OtherSettings(ConfigurationError):
    """Another node leads with different settings; `leader` is its row."""

    def __init__(self, why: str, leader: Seen) -> None:
        super().__init__(why)
        self.leader = leader


class Seat:
    """Call `belong`, then `wait`, once each. From then on this process leads, until `leave` or until it ends."""

    def __init__(
        self, connect: Callable[[], Leadership], node: str, address: str, clocks: Clocks, same: Same | None = None
    ) -> None:
        """`address` is where other nodes reach this process once it leads.

        `same` has the settings that must be the same on every node.
        """
        self.same = same or {}
        self._of_others: Seen | None = None
        self._outdated = ""
        self.leadership = connect()
        self._connect = connect
        self.node = node
        self.address = address
        self.holder = holder_of_writer(node)
        self.epoch = 0
        # The holders, other than this process, that may have instances from before its epoch.
        self.inherited: list[str] = []
        self._clocks = clocks
        self._unrenewed = Unrenewed()
        self._lead: Lead | None = None
        self._timer: Timer | None = None
        self._looked_at = 0.0
        self._renewing: threading.Thread | None = None
        self._left = False
        self._end: Callable[[str], None] = lambda _why: None
        self._lives: Callable[[float], None] = lambda _until: None

    async def belong(self, key_digest: str) -> None:
        """Returns once this node may become the leader. Raises `ConfigurationError` if it does not fit the cluster."""
        await self.leadership.require_free()
        if await self.leadership.know(key_digest) != key_digest:
            raise ConfigurationError(
                f"the database {self.leadership.shown} is that of a cluster with another key: give this node a copy of "
                "its key file, or another database. To change a cluster's key, stop every node and run `sesame cluster "
                "rekey`"
            )
        while self._is_of_others(await self.leadership.look()):
            await self._clocks.sleep(BEAT_S)

    async def wait(self, end: Callable[[str], None], lives: Callable[[float], None]) -> None:
        """Returns once this process leads. If it later loses the leadership, `end` is called, which must not return.

        `lives` is called with the monotonic time at which the supervisor shall kill this process.
        """
        self._end, self._lives = end, lives
        while not self.epoch:
            try:
                await self._try()
            except PlatformError as error:
                log.warning("the database of the cluster does not answer; trying again", error=str(error))
            if not self.epoch:
                await self._clocks.sleep(BEAT_S)

    def leads(self) -> bool:
        return self._lead is not None and self._lead.lasts(self._clocks.monotonic())

    async def leave(self) -> None:
        """The last step of a graceful shutdown, when nothing runs any more: gives the leadership back. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        self._left = True
        if self._renewing is not None:
            await asyncio.to_thread(self._renewing.join)
        self._lives(0.0)
        if self.epoch and self.leads():
            try:
                await self.leadership.resign(self.epoch, self.holder)
            except PlatformError as error:
                log.warning("the leadership was not given back; it expires by itself", error=str(error))
        self._lead = None
        await self.leadership.close()

    async def _try(self) -> None:
        seen = await self.leadership.look()
        if self._is_of_others(seen):
            return
        unrenewed_s = self._unrenewed.for_s(seen.epoch, seen.renewed_at, self._clocks.monotonic())
        # Report this at once, even while another node leads, so that operators need not wait until it ends.
        if self._is_outdated(seen):
            return
        if seen.node not in ("", self.node) and unrenewed_s < EXPIRED_S:
            return
        sent_at = self._clocks.monotonic()
        epoch = await self.leadership.take(seen, self.node, self.address, self.holder, encoded(self.same))
        if not epoch:
            return
        lead = Lead(sent_at)
        await self.leadership.fence(epoch)
        self.inherited = [each for each in await self.leadership.holders() if each != self.holder]
        self._lead, self.epoch = lead, epoch
        log.info("this node leads the cluster", node=self.node, epoch=epoch, before=seen.node)
        self._lives(lead.until + GRACE_S)
        self._look()
        self._renewing = threading.Thread(
            target=lambda: asyncio.run(self._renew(lead)), name="sesame-leadership", daemon=True
        )
        self._renewing.start()

    def _is_outdated(self, seen: Seen) -> bool:
        """Whether a newer Sesame has migrated the database, so that this one cannot use it and must not lead."""
        if not seen.schema or seen.schema in known_migrations():
            return False
        if self._outdated != seen.schema:
            self._outdated = seen.schema
            log.error(
                "this node cannot lead the cluster any more: a newer Sesame has changed the database; have it run what "
                "is installed by now, with `sesame cluster upgrade`, or `sesame upgrade` on its machine",
                node=self.node, schema=seen.schema, expected=f"{max(known_migrations())} or older",
            )  # fmt: skip
        return True

    def _is_of_others(self, seen: Seen) -> bool:
        """Whether a node with other settings may still be leading. Raises `OtherSettings` once it is seen to renew.

        A node that has resigned does not count.
        """
        others = decoded(seen.settings)
        if seen.node in ("", self.node) or others is None:
            return False
        unrenewed_s = self._unrenewed.for_s(seen.epoch, seen.renewed_at, self._clocks.monotonic())
        why = difference(self.same, others, self.node, seen.node)
        if not why or unrenewed_s >= FORGOTTEN_S:
            return False
        before = self._of_others = self._of_others or seen
        if (before.epoch, before.renewed_at) != (seen.epoch, seen.renewed_at):
            raise OtherSettings(why, seen)
        return True

    async def _renew(self, lead: Lead) -> None:
        """Renews the leadership every BEAT_S. Runs in the thread, with a connection of its own."""
        leadership = self._connect()
        while not self._left:
            await self._clocks.sleep(BEAT_S)
            sent_at = self._clocks.monotonic()
            if sent_at - self._looked_at > HANGS_S:
                log.error("the event loop is blocked: the leadership is not renewed", epoch=self.epoch)
                continue
            try:
                renewed = await leadership.renew(self.epoch)
            except PlatformError as error:
                log.warning("the leadership could not be renewed; trying again", epoch=self.epoch, error=str(error))
                continue
            if not renewed:
                self._end(f"another node leads the cluster: epoch {self.epoch} is over")
                break
            lead.renewed(sent_at)
            self._lives(lead.until + GRACE_S)
        await leadership.close()

    def _look(self) -> None:
        self._looked_at = self._clocks.monotonic()
        if not self.leads():
            self._end(f"the leadership of epoch {self.epoch} could not be renewed in time")
        self._timer = self._clocks.call_later(LOOKS_EVERY_S, self._look)


def holder_of_writer(node: str) -> str:
    """The holder's name, in the database, for the process of this node that is the writer."""
    return f"writer {node}"


def holder_of_follower(node: str) -> str:
    """The holder's name, in the database, for the follower of this node."""
    return f"follower {node}"
