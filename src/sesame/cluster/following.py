"""A follower's side of links between nodes: finds the writer, sends it beats, and ends instances in time.

Built by `_node` for a node's follower. It takes the place of the supervisor, which introduces agents on one machine.
"""

import asyncio
import socket
from collections.abc import Callable

import msgspec
import structlog

from sesame.agents import messages as m
from sesame.agents.follower import Follower
from sesame.agents.policies import LINGER_S
from sesame.cluster.handshake import Purpose
from sesame.cluster.joining import Joins, join, speaks
from sesame.cluster.port import Address, address_of, connect
from sesame.cluster.rules import BEAT_S, GRACE_S, Life
from sesame.cluster.sameness import Same
from sesame.cluster.seat import holder_of_follower
from sesame.model.clocks import Clocks, Timer
from sesame.model.errors import PlatformError
from sesame.model.seldom import Seldom
from sesame.model.standing import FOLLOWS, LEADS, WAITS, Standing
from sesame.store.sql.leadership import Leadership, Seen

# How often the follower's right to serve is checked.
LOOKS_EVERY_S = 0.25
CONNECTS_WITHIN_S = 3.0
NO_WORD = "the node that led is not heard of any more"

log = structlog.get_logger("sesame.cluster")


class Own(msgspec.Struct, frozen=True):
    """What a node tells others about itself.

    `node` is its name, new with each start; `address` is where others reach its follower; `key` is the cluster's.
    `memory_mb` and `disk_mb` bound its instances, None for no bound. `settings` must be the same on every node.
    `version` and `build` are those of the Sesame that runs.
    """

    node: str
    address: str
    key: bytes
    memory_mb: int
    disk_mb: int | None
    settings: Same = {}
    version: str = ""
    build: str = ""


class FollowerLife:
    """Implements `agents.presence.Life` with the rule `rules.Life`, and keeps the supervisor informed."""

    def __init__(self, lives: Callable[[float], None], clocks: Clocks) -> None:
        self.rule = Life()
        self._lives = lives
        self._clocks = clocks

    def lasts(self) -> bool:
        return self.rule.lasts(self._clocks.monotonic())

    def answered(self) -> None:
        self.rule.answered()
        if self.lasts():
            # Not only at the next check: this process may be suspended before that.
            self._lives(self.rule.until + GRACE_S)


class Following:
    """Call `begin` once, and `close` once no instance is left on this node."""

    def __init__(self, own: Own, leadership: Leadership, lives: Callable[[float], None], clocks: Clocks) -> None:
        """`lives` is called with the monotonic time at which the supervisor shall kill this process, 0 for never."""
        self.life = FollowerLife(lives, clocks)
        # The epoch of the newest writer that this node was linked to; it never follows an older one.
        self.epoch = 0
        self.writer: Address | None = None
        self.is_writers_node = False
        # Called with the address of a writer that has been succeeded by another.
        self.moved: Callable[[Address], None] = lambda _former: None
        # Called when the role or state of this node changes.
        self.stands: Callable[[Standing], None] = lambda _standing: None
        self._standing = Standing(node=own.node, version=own.version, build=own.build, speaks=speaks())
        self._own = own
        self._leadership = leadership
        self._lives = lives
        self._clocks = clocks
        self._follower: Follower | None = None
        self._timer: Timer | None = None
        self._running: asyncio.Task[None] | None = None
        self._says = Seldom(clocks.monotonic)

    def begin(self, follower: Follower, ended: Callable[[asyncio.Task[None]], None]) -> None:
        """Starts looking for a writer. `ended` is called when the task that does so ends, which it never should."""
        self._follower = follower
        self._running = asyncio.get_running_loop().create_task(self._run(follower))
        self._running.add_done_callback(ended)

    def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._lives(0.0)

    async def _run(self, follower: Follower) -> None:
        # By then, whatever a previous process of this node has left has ended.
        await self._clocks.sleep(LINGER_S)
        self._look()
        while True:
            if follower.is_linked:
                self.life.rule.sent(self._clocks.monotonic())
                follower.send(m.AreYouThere())
            else:
                self._stand(WAITS, NO_WORD if self.epoch else "")
                try:
                    await self._link(follower)
                except (OSError, PlatformError) as error:
                    self._tell(str(error) or type(error).__name__)
            await self._clocks.sleep(BEAT_S)

    async def _link(self, follower: Follower) -> None:
        seen = await self._leadership.look()
        if not seen.address:
            self._stand(WAITS, "no node leads the cluster")
            return
        if seen.epoch < self.epoch:
            self._forget_epoch(seen, follower)
        connected = await self._joined(seen)
        former, self.epoch, self.writer = self.writer, seen.epoch, address_of(seen.address)
        self.is_writers_node = seen.node == self._own.node
        if former is not None and former != self.writer:
            self.moved(former)
        self.life.rule.another_link()
        follower.meet(connected)
        self.life.rule.sent(self._clocks.monotonic())
        follower.send(m.AreYouThere())
        self._stand(LEADS if self.is_writers_node else FOLLOWS, writer=seen.node)
        log.info("this node is linked to the writer", epoch=seen.epoch, writer=seen.node, address=seen.address)

    def _forget_epoch(self, seen: Seen, follower: Follower) -> None:
        """Accepts an older epoch: the database was restored from a copy, or another server has taken its place.

        Raises `PlatformError` while this node may still use what the writer of the newer epoch granted.
        """
        what = f"epoch {seen.epoch} is older than {self.epoch}, which this node has followed"
        if self.life.lasts() or follower.holds_any():
            raise PlatformError(f"{what}: it waits until nothing is left of that time")
        log.warning("the database of the cluster was set back", epoch=seen.epoch, before=self.epoch)
        self.epoch = 0

    async def _joined(self, seen: Seen) -> socket.socket:
        own = self._own
        connected = await connect(address_of(seen.address), own.key, Purpose.LINK, within_s=CONNECTS_WITHIN_S)
        try:
            joins = Joins(
                own.node, own.address, seen.epoch, own.memory_mb, own.disk_mb,
                settings=dict(own.settings), speaks=speaks(),
            )  # fmt: skip
            await join(connected, joins)
            if holder_of_follower(own.node) not in await self._leadership.holders():
                raise PlatformError(
                    f"the writer at {seen.address} has another database than {self._leadership.shown}, which this node "
                    "has, and which may be a copy of it: have every node use the same one"
                )
        except BaseException:
            connected.close()
            raise
        return connected

    def _look(self) -> None:
        """Ends instances when this node may no longer use them, and tells the supervisor when to kill this process.

        The kill is the fallback for a process that cannot act in time.
        """
        follower = self._follower
        assert follower is not None
        rule, now = self.life.rule, self._clocks.monotonic()
        if follower.is_linked and rule.is_silent(now):
            log.warning("the writer does not answer: it is looked for again")
            follower.unlink()
        if not rule.lasts(now) and follower.holds_any():
            log.warning("nothing was heard from a writer for too long: all instances of this node end")
            follower.end_instances()
        self._lives(rule.until + GRACE_S if rule.lasts(now) or follower.holds_any() else 0.0)
        self._timer = self._clocks.call_later(LOOKS_EVERY_S, self._look)

    def _tell(self, why: str) -> None:
        self._stand(WAITS, why)
        if self._says.may():
            log.warning("no writer of the cluster can be reached; trying again", why=why)

    def _stand(self, role: str, why: str = "", writer: str = "") -> None:
        """Updates the node's standing. While it waits, a known reason is kept until another attempt gives a new one."""
        before = self._standing
        if role == before.role == WAITS and why in ("", NO_WORD):
            return
        since = before.since if role == before.role and writer == before.writer else self._clocks.wall()
        now = msgspec.structs.replace(
            before, role=role, since=since, writer=writer, epoch=self.epoch if writer else 0, why=why
        )
        if now != before:
            self._standing = now
            self.stands(now)
