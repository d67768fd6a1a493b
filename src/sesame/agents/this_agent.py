"""What the supervisor passes to an agent that it starts, and the agent's link to the supervisor.

Created by `agents.supervisor` in the agent's process. An agent whose supervisor has ended kills itself at once:
otherwise an unsupervised Sesame would keep the data directory in use.
"""

import mmap
import os
import signal
import socket
from collections.abc import Callable, Sequence

import msgspec

from sesame.agents import messages as m
from sesame.agents.link import Link, taken
from sesame.agents.policies import WRITER
from sesame.http.handover import Handed, Handover

# The size of a C double.
_TIME_BYTES = 8
# Fewer than the kernel passes with one message (`link.FDS_READ`).
CONNECTIONS_TOGETHER = 200

Meet = Callable[[int, socket.socket, bool], None]
"""Called with the number of another agent, the connection to it, and whether it may hold instances."""


class LivesUntil:
    """The time until which each agent may live, set by the agent itself in memory that the supervisor shares.

    A message would not do: it is sent only when the agent's event loop runs, which may be blocked.
    """

    def __init__(self, agents: int) -> None:
        self._times = memoryview(mmap.mmap(-1, agents * _TIME_BYTES)).cast("d")

    def set(self, agent: int, until: float) -> None:
        """`until` is in seconds of the machine's monotonic clock; 0 means no limit."""
        self._times[agent - 1] = until

    def of(self, agent: int) -> float:
        return self._times[agent - 1]


class AgentConfig(msgspec.Struct, frozen=True):
    """What an agent needs to know. `agent` is its number, from 1 to `agents`.

    `control` (the link to the supervisor) and `listening` are descriptors, the latter by the names that `_listening`
    uses. `supervisor` is a process id. `held` are the followers that may hold instances granted by a previous writer.
    `restarts` is whether the supervisor can replace agents on request.
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


class ThisAgent:
    """This process as one of the agents."""

    def __init__(self, config: AgentConfig) -> None:
        self.config = config
        self.agent = config.agent
        # This agent's number, and the number of agents.
        self.number_of = config.agent, config.agents
        self.is_writer = config.agent == WRITER
        self.handover = Handover([Handed(name, fd, (), 0) for name, fd in config.listening.items()], self._leave)
        self._control: Link | None = None
        self._ended = False
        self._meet: Meet = _unmet
        self._stop: Callable[[], None] = lambda: None
        self._be_replaced: Callable[[], None] = lambda: None
        self._refuse: Callable[[str], None] = lambda _why: None

    def attend(self, meet: Meet = _unmet, be_replaced: Callable[[], None] = lambda: None) -> None:
        """Starts listening to the supervisor. Must be called once, in the event loop.

        `meet` is called for each other agent, and `be_replaced` before another process replaces this agent.
        """
        self._meet, self._be_replaced = meet, be_replaced
        self._control = Link(socket.socket(fileno=self.config.control), self._take, self._alone)

    def stop_by(self, stop: Callable[[], None]) -> None:
        """Sets the function that shuts this agent down gracefully."""
        self._stop = stop

    def refuse_by(self, refuse: Callable[[str], None]) -> None:
        """Sets the function that reports why a requested restart does not take place."""
        self._refuse = refuse

    def ready(self) -> None:
        """Tells the supervisor that this agent serves requests."""
        if self._control is not None:
            self._control.send(m.Ready())

    def hangs(self, agent: int) -> None:
        """Has the supervisor kill the given agent and start it again."""
        if self._control is not None:
            self._control.send(m.Hangs(agent))

    def lives(self, until: float) -> None:
        """Has the supervisor kill this agent at `until` (monotonic clock, seconds); 0 means never. Thread-safe."""
        self.config.lives.set(self.agent, until)

    def end(self) -> None:
        """This agent ends by itself: from now on, the end of the supervisor does not kill it."""
        self._ended = True
        if self._control is not None:
            self._control.close()

    def _take(self, message: m.Message, fds: list[int]) -> None:
        match message:
            case m.Peer():
                self._meet(message.agent, taken(fds), message.held)
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
            # The agent is already ending to be replaced, and now nobody replaces it. Running calls keep their time.
            self.handover.give_up()
            return
        if replaced:
            self.handover.begun = True
            self._be_replaced()
        self._stop()

    def _leave(self, handed: Handed) -> None:
        os.close(handed.listening)
        self._leave_connections(handed.name, handed.connections)

    def _leave_connections(self, name: str, fds: Sequence[int]) -> None:
        for at in range(0, len(fds), CONNECTIONS_TOGETHER):
            assert self._control is not None, "connections are left by an agent that attends to the supervisor"
            self._control.send(m.Connections(name), fds[at : at + CONNECTIONS_TOGETHER])

    def _go_on_with(self, name: str, fds: list[int]) -> None:
        while fds:
            connected = taken(fds)
            if not self.handover.go_on(name, connected):
                self._leave_connections(name, [connected.detach()])

    def _alone(self) -> None:
        if not self._ended:
            os.kill(os.getpid(), signal.SIGKILL)
