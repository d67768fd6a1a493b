"""Supervises the agents of one machine: starts and introduces them, restarts those that die or hang, stops them.

Run by `sesame start --agents N`. It keeps the listening sockets, so that connections wait while an agent restarts, but
serves nothing itself. It forks agents with everything they need already imported, so that one is back in half a
second; forking is why it has neither threads nor an event loop. On `sesame restart` it replaces its own program in
place, and then its agents.
"""

import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

import msgspec

from sesame.agents import messages as m
from sesame.agents.link import pair
from sesame.agents.policies import WRITER
from sesame.agents.replacing import Next, Replacing
from sesame.agents.succession import Anew, Kept, KeptAgent, Trial, spoken
from sesame.agents.supervised import ASKED_BY, LOOKS_EVERY_S, STOPPED_BY, Supervised, how, live, readable, sleeps_s
from sesame.agents.this_agent import AgentConfig, LivesUntil, ThisAgent
from sesame.agents.waiting import Waiting, close
from sesame.http.handover import Handed
from sesame.model.exit_codes import EXIT_INTERRUPTED

# POLICY: an agent that ends is restarted at once; one that ended before it was ready, after 0.5 s, 1 s, … up to 30 s.
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 30.0


class Wanted(msgspec.Struct, frozen=True):
    """What to supervise. `run` is the whole life of an agent, in its own process; it returns the exit code.

    `listening` has sockets by the names that `_listening` uses, Function Compute's first; `waiting` has descriptors of
    connections from the previous program, by the same names. `anew` is None if the program cannot replace itself.
    `kept` is what the previous program kept; None if there was none. Agents that are `apart` are the nodes of a
    cluster: they find each other by themselves, and each gets all listening sockets.
    """

    agents: int
    listening: Mapping[str, socket.socket]
    run: Callable[[ThisAgent], int]
    apart: bool = False
    waiting: Mapping[str, Sequence[int]] = {}
    anew: Anew | None = None
    kept: Kept | None = None


class Supervisor:
    """Call `run` once; it returns when every agent has ended."""

    def __init__(self, wanted: Wanted, note: Callable[[str], None]) -> None:
        self._wanted = wanted
        self._note = note
        kept = () if wanted.kept is None else wanted.kept.agents
        there = {each.number: Supervised.of(each) for each in kept}
        self._agents = [there.get(number) or Supervised(number) for number in range(1, wanted.agents + 1)]
        # Agents of the previous program beyond the number that is wanted now.
        self._agents += [each for each in there.values() if each.pid and each.number > wanted.agents]
        self._writer = self._agents[WRITER - 1]
        self._waiting = Waiting(wanted.waiting)
        self._stops = self._asked = False
        self._began = self._told_ready = wanted.kept is not None
        self._trial: Trial | None = None
        # Whether all agents are being stopped before the program replaces itself.
        self._leaves = False
        self._replacing = self._of_before()
        self._looks_at = 0.0
        self._code = 0
        # Needed because a stopped process (SIGSTOP) cannot end itself in time.
        self._lives = LivesUntil(wanted.agents)
        self._selector = selectors.DefaultSelector()
        self._wakes, self._woken = os.pipe()

    def _of_before(self) -> Replacing | None:
        kept, living = self._wanted.kept, [each for each in self._agents if each.pid]
        if kept is None or not living:
            return None
        replacing = Replacing((each.number for each in living), together=kept.speaks != spoken(self._wanted.agents))
        if replacing.together:
            for each in self._agents:
                each.due_at = None
        return replacing

    def run(self) -> int:
        """Returns the exit code. SIGTERM or SIGINT stops all agents gracefully; a second signal kills them."""
        for fd in (self._wakes, self._woken):
            os.set_blocking(fd, False)
        self._selector.register(self._wakes, selectors.EVENT_READ)
        for agent in self._agents:
            if agent.link is not None:
                self._selector.register(agent.link, selectors.EVENT_READ, agent)
        signal.set_wakeup_fd(self._woken)
        for number in STOPPED_BY:
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        if self._wanted.anew is not None:
            signal.signal(ASKED_BY, self._on_restart)
        # Delivers signals that arrived while the program was being replaced.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPED_BY)
        # Existing objects are shared with the agents; exclude them from garbage collection so that pages stay shared.
        gc.collect()
        gc.freeze()
        while True:
            self._start_due()
            if self._stops and not any(agent.pid for agent in self._agents):
                return self._code
            self._wait()
            self._kill_overdue()
            self._reap()
            self._look()
            self._replace()
            self._try_and_begin_anew()

    # Signals.

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._stops and not self._code:
            self._note("Stopped at once.")
            self._code = EXIT_INTERRUPTED
            for agent in self._agents:
                agent.kill()
        self._stop()

    def _on_restart(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True

    def _stop(self) -> None:
        self._stops = True
        # The agents close their copies next; then nobody can connect any more.
        for each in self._wanted.listening.values():
            each.close()
        self._waiting.close()
        if self._trial is not None:
            self._trial.close()
            self._trial = None
        for agent in self._agents:
            agent.due_at = None
            agent.send(m.Stop())

    # Agents.

    def _wait(self) -> None:
        due = [agent.due_at for agent in self._agents]
        within_s = sleeps_s(time.monotonic(), due, None if self._wanted.apart else self._looks_at)
        for key, _events in self._selector.select(within_s):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wakes, 4096)
            else:
                self._hear(key.data)

    def _hear(self, agent: Supervised) -> None:
        """Handles what the agent has sent. The end of its link means that it is ending."""
        heard = agent.hear()
        if heard is None:
            self._unlink(agent)
        for message, fds in heard or ():
            match message:
                case m.Ready():
                    self._is_ready(agent)
                case m.Here():
                    agent.silence.answered()
                case m.Hangs():
                    for each in [each for each in self._agents if each.number == message.agent]:
                        self._kill(each)
                case m.Connections():
                    self._left(message.name, fds)
        if agent.garbled:
            self._unlink(agent)
            self._kill(agent, f"sent an invalid message ({agent.garbled})")

    def _kill_overdue(self) -> None:
        for agent in self._agents[: self._wanted.agents]:
            if 0 < self._lives.of(agent.number) <= time.monotonic():
                self._kill(agent)
                self._lives.set(agent.number, 0.0)

    def _kill(self, agent: Supervised, why: str = "does not answer") -> None:
        if agent.pid:
            self._note(f"Agent {agent.number} {why}: it is killed.")
            agent.kill()

    def _unlink(self, agent: Supervised) -> None:
        if agent.link is not None:
            self._selector.unregister(agent.link)
        agent.disconnect()

    def _is_ready(self, agent: Supervised) -> None:
        agent.ready, agent.failures = True, 0
        self._began = self._began or agent is self._writer
        if self._replacing is not None:
            self._replacing.replaced(agent.number)
        self._pass_on()
        if not self._told_ready and all(each.ready for each in self._agents):
            self._told_ready = True
            self._note("This node serves." if self._wanted.apart else f"{len(self._agents)} agents serve.")

    def _look(self) -> None:
        if time.monotonic() < self._looks_at or self._wanted.apart:
            return
        self._looks_at = time.monotonic() + LOOKS_EVERY_S
        for agent in self._agents:
            if not agent.look():
                agent.silence.answered()
                self._kill(agent)

    def _reap(self) -> None:
        for agent in list(self._agents):
            if not agent.pid:
                continue
            pid, status = os.waitpid(agent.pid, os.WNOHANG)
            if pid:
                self._ended(agent, os.waitstatus_to_exitcode(status))

    def _ended(self, agent: Supervised, code: int) -> None:
        # Read its last messages, for example the connections that it leaves.
        while agent.link is not None and readable(agent.link):
            self._hear(agent)
        self._unlink(agent)
        was_ready, was_replaced = agent.ended(), agent.replaced
        if agent.number <= self._wanted.agents:
            self._lives.set(agent.number, 0.0)
        if self._stops:
            self._code = self._code or max(code, 0)
        if self._stops or self._leaves:
            return
        if agent is self._writer and not self._began:
            # The writer has printed why it cannot start.
            self._code = code if code > 0 else 1
            self._stop()
            return
        if agent.number > self._wanted.agents:
            self._agents.remove(agent)
        agent.failures += not was_ready and not was_replaced
        wait_s = min(BACKOFF_FIRST_S * 2.0 ** (agent.failures - 1), BACKOFF_MAX_S) if agent.failures else 0.0
        agent.due_at = time.monotonic() + wait_s
        if self._replacing is not None:
            self._replacing.ended(agent.number, comes_again=agent.number <= self._wanted.agents)
            if self._replacing.together:
                self._due_together()
        if not was_replaced:
            self._note(f"Agent {agent.number} has ended ({how(code)}): it is started again.")

    def _due_together(self) -> None:
        """Starts new agents only once all old ones have ended, because they do not understand each other."""
        old = any(agent.pid and agent.replaced for agent in self._agents)
        for agent in self._agents:
            if not agent.pid:
                agent.due_at = None if old else agent.due_at or 0.0

    def _start_due(self) -> None:
        for agent in self._agents:
            if agent.due_at is not None and agent.due_at <= time.monotonic():
                agent.due_at = None
                self._start(agent)

    def _start(self, agent: Supervised) -> None:
        ours, theirs = pair()
        ours.setblocking(False)
        listening = dict(self._wanted.listening)
        if agent is not self._writer and not self._wanted.apart:
            name = next(iter(listening))
            listening = {name: listening[name]}
        held = tuple(each.number for each in self._agents if each.held) if agent is self._writer else ()
        supervisor, restarts = os.getpid(), self._wanted.anew is not None
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            fds = {name: os.dup(each.fileno()) for name, each in listening.items()}
            ours.close()
            config = AgentConfig(
                agent.number, self._wanted.agents, supervisor, theirs.detach(), fds, held, self._lives, restarts
            )
            live(agent.number, self._let_go, lambda: self._wanted.run(ThisAgent(config)))
        theirs.close()
        agent.began(pid, ours)
        self._selector.register(ours, selectors.EVENT_READ, agent)
        self._introduce(agent)

    def _let_go(self) -> None:
        """In an agent's process, closes what belongs to the supervisor."""
        self._selector.close()
        close((self._wakes, self._woken))
        self._waiting.close()
        for agent in self._agents:
            agent.disconnect()
        for each in self._wanted.listening.values():
            each.close()

    def _introduce(self, agent: Supervised) -> None:
        """Connects a new follower with the writer, or a new writer with all followers."""
        if self._writer.link is None or self._wanted.apart:
            return
        followers = [each for each in self._agents if each is not self._writer and each.link is not None]
        for follower in followers if agent is self._writer else [agent]:
            to_writer, to_follower = pair()
            with to_writer, to_follower:
                self._writer.send(m.Peer(follower.number, follower.held), to_follower.fileno())
                follower.send(m.Peer(WRITER), to_writer.fileno())
            follower.held = True

    # Connections that an agent leaves when it is replaced.

    def _left(self, name: str, fds: list[int]) -> None:
        names = list(self._wanted.listening)[: 1 if self._wanted.apart else None]
        if self._stops or name not in names:
            close(fds)
        else:
            self._waiting.add(name, fds)
            self._pass_on()

    def _pass_on(self) -> None:
        """Passes on left connections. Followers have only the first endpoint; apart, the candidate serves nobody."""
        there, apart = [each for each in self._agents if each.ready and not each.replaced], self._wanted.apart
        for number, name in enumerate(self._wanted.listening):
            takers = [each for each in there if (each is self._writer) != apart or not (number or apart)]
            self._waiting.pass_on(name, takers)

    # Replacing the supervisor's own program.

    def _try_and_begin_anew(self) -> None:
        """Takes the next step of a requested restart, if there is one."""
        anew = self._wanted.anew
        if self._stops or anew is None:
            return
        if self._leaves:
            if not any(agent.pid for agent in self._agents):
                self._begin(anew, ())
            return
        if self._asked and self._trial is None and self._replacing is None:
            self._asked = False
            self._trial = anew.attempt()
        if self._trial is None or (problem := self._trial.problem()) is None:
            return
        self._trial = None
        if problem:
            self._refuse(problem)
            return
        if self._wanted.apart:
            self._leave()
            return
        self._note("Restarting: agents are replaced one after the other …")
        self._begin(anew, tuple(each.kept() for each in self._agents))

    def _leave(self) -> None:
        """Stops all agents. Clients that connect meanwhile wait in the kernel's queue."""
        self._note("Restarting: new calls wait; running ones get their time to end …")
        self._leaves = True
        for agent in self._agents:
            agent.due_at, agent.replaced = None, True
            if not agent.send(m.Stop(replaced=True)):
                self._kill(agent)

    def _begin(self, anew: Anew, agents: tuple[KeptAgent, ...]) -> None:
        listening = self._wanted.listening.items()
        handed = tuple(Handed(name, each.fileno(), self._waiting.of(name), 0) for name, each in listening)
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPED_BY)
        signal.signal(ASKED_BY, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        not_begun = anew.begin(Kept(spoken(self._wanted.agents), agents, handed))
        for agent in self._agents if self._leaves else ():
            agent.due_at = 0.0
        self._leaves = False
        signal.set_wakeup_fd(self._woken)
        signal.signal(ASKED_BY, self._on_restart)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPED_BY)
        self._refuse(not_begun)

    def _refuse(self, why: str) -> None:
        self._note(f"Not restarted: {why}")
        (self._agents[-1] if self._wanted.apart else self._writer).send(m.RestartRefused(why))

    def _replace(self) -> None:
        """Takes the next step of replacing the agents of the previous program, if there is one."""
        if self._stops or self._replacing is None:
            return
        failures = max(each.failures for each in self._agents)
        done, numbers = self._replacing.step(all_ready=all(each.ready for each in self._agents), failures=failures)
        if done is Next.GIVE_UP:
            self._replacing = None
            self._refuse("an agent does not start again, so the remaining ones are not replaced; its log says why")
            return
        for agent in [each for each in self._agents if each.number in numbers]:
            agent.replaced = True
            if not agent.send(m.Stop(replaced=True)):
                self._kill(agent)
        if self._replacing.done:
            self._replacing = None
            self._note("All agents have been replaced.")
