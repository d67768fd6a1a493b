"""What an agent is told by the supervisor that started it, and its link to that supervisor.

Made by `agents.supervisor` in the agent's process. An agent whose supervisor is gone ends at once, as if it had been
killed with it: a Sesame that nobody supervises would keep the data directory.
"""

import mmap
import os
import signal
import socket
from collections.abc import Callable, Sequence

import msgspec

from sesame.agents import messages as m
from sesame.agents.link import Link
from sesame.agents.policies import WRITER
from sesame.http.handover import Handed, Handover

# Of a C double.
_TIME_BYTES = 8
# The kernel takes up to 253 descriptors with one message.
CONNECTIONS_TOGETHER = 200

Meet = Callable[[int, socket.socket, bool], None]
"""Takes the number of another agent, the connection to it, and whether it may hold instances."""


class LivesUntil:
    """Until when each agent may be alive, by its own word: memory that the supervisor shares with all of them.

    A message would have to wait until the agent's event loop sends it.
    """

    def __init__(self, agents: int) -> None:
        self._times = memoryview(mmap.mmap(-1, agents * _TIME_BYTES)).cast("d")

    def set(self, agent: int, until: float) -> None:
        """By the machine's monotonic clock; 0 for no end."""
        self._times[agent - 1] = until

    def of(self, agent: int) -> float:
        return self._times[agent - 1]


class Told(msgspec.Struct, frozen=True):
    """`control` and `listening` are descriptors; those that listen by the names that `_endpoints` has for them.

    `agent` is one of so many `agents`. `held` are followers that may hold instances from the time of a writer before.
    `restarts` says that the supervisor has them replaced where it is asked to.
    """

    agent: int
    agents: int
    supervisor: int
    control: int
    listening: dict[str, int]
    held: tuple[int, ...]
    lives: LivesUntil
    restarts: bool = False


def _unmet(_agent: int, connected: socket.socket, _held: bool) -> None:
    connected.close()


class Place:
    """This process among the agents."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.agent = told.agent
        # Which of how many.
        self.number_of = told.agent, told.agents
        self.is_writer = told.agent == WRITER
        self.handover = Handover([Handed(name, fd, (), 0) for name, fd in told.listening.items()], self._leave)
        self._control: Link | None = None
        self._ended = False
        self._meet: Meet = _unmet
        self._stop: Callable[[], None] = lambda: None
        self._rest: Callable[[], None] = lambda: None
        self._refuse: Callable[[str], None] = lambda _why: None

    def attend(self, meet: Meet = _unmet, rest: Callable[[], None] = lambda: None) -> None:
        """From here on other agents are met. Called once, in the event loop. `rest` is called before this agent is
        stopped because another process comes in its place.
        """
        self._meet, self._rest = meet, rest
        self._control = Link(socket.socket(fileno=self.told.control), self._take, self._alone)

    def stop_by(self, stop: Callable[[], None]) -> None:
        """What ends this agent in peace."""
        self._stop = stop

    def refuse_by(self, refuse: Callable[[str], None]) -> None:
        """What tells whoever asked for a restart why it does not come."""
        self._refuse = refuse

    def ready(self) -> None:
        """It answers requests."""
        if self._control is not None:
            self._control.send(m.Ready())

    def hangs(self, agent: int) -> None:
        """The supervisor kills it, and starts it again."""
        if self._control is not None:
            self._control.send(m.Hangs(agent))

    def lives(self, until: float) -> None:
        """The supervisor kills it at this time of the machine's monotonic clock; not at all for 0. From any thread."""
        self.told.lives.set(self.agent, until)

    def end(self) -> None:
        """The supervisor may go from here on."""
        self._ended = True
        if self._control is not None:
            self._control.close()

    def _take(self, message: m.Message, fds: list[int]) -> None:
        match message:
            case m.Peer():
                self._meet(message.agent, socket.socket(fileno=fds[0]), message.held)
            case m.Stop():
                self._stop_or_be_replaced(replaced=message.replaced)
            case m.Connections():
                self._go_on_with(message.name, fds)
            case m.RestartRefused():
                self._refuse(message.why)
            case m.AreYouThere():
                if self._control is not None:
                    self._control.send(m.Here())
            case _:
                raise AssertionError(f"the supervisor sent {type(message).__name__}")

    def _stop_or_be_replaced(self, *, replaced: bool) -> None:
        if self.handover.begun:
            # It ends already, and nobody comes in its place now. Running calls keep their time.
            self.handover.give_up()
            return
        if replaced:
            self.handover.begun = True
            self._rest()
        self._stop()

    def _leave(self, handed: Handed) -> None:
        os.close(handed.listening)
        self._leave_connections(handed.name, handed.connections)

    def _leave_connections(self, name: str, fds: Sequence[int]) -> None:
        for at in range(0, len(fds), CONNECTIONS_TOGETHER):
            assert self._control is not None, "connections are left by an agent that attends to the supervisor"
            self._control.send(m.Connections(name), fds[at : at + CONNECTIONS_TOGETHER])

    def _go_on_with(self, name: str, fds: list[int]) -> None:
        for fd in fds:
            connected = socket.socket(fileno=fd)
            if not self.handover.go_on(name, connected):
                self._leave_connections(name, [connected.detach()])

    def _alone(self) -> None:
        if not self._ended:
            os.kill(os.getpid(), signal.SIGKILL)
