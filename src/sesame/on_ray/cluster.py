"""Controls a cluster of Sesame on a running Ray: starts it, watches it, queries it, drains it.

Used by the command line. Calls of functions never pass through here, nor through Ray.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from sesame.model.errors import ConfigurationError
from sesame.on_ray.library import NAMESPACE, connected, reached
from sesame.on_ray.order import LOST, Order, Ran, Report

# A new actor first imports its modules, which takes seconds, and more than a minute on a busy machine.
ANSWER_S = 180.0
WATCHED_EVERY_S = 1.0
# How long to wait before trying again whether Ray has freed the name of an actor that was ended.
NAME_FREE_S = 0.5
# POLICY: after this many failed queries in a row, at least a second apart, check whether there is another head.
UNHEARD_MAX = 30


class Stopped(ConfigurationError):
    """The cluster has been drained by someone else meanwhile."""


class Elsewhere(ConfigurationError):
    """The placer has not answered for long although something answers at the head's address: possibly a new head."""


class Cluster:
    """The one cluster of this Ray. Valid while Ray is connected."""

    def __init__(self, ray: Any, placer: Any) -> None:
        self._ray = ray
        self._placer = placer

    @property
    def ray_version(self) -> str:
        """The version of the Ray that runs, which is this process's too: Ray refuses any other."""
        return str(self._ray.__version__)

    def reports(self) -> list[Report]:
        """A report for each machine's node. Raises `ConfigurationError` if Ray does not answer."""
        told = self._asked(self._placer.reports.remote(), ANSWER_S)
        wall = time.time()
        found = msgspec.convert(told, list[Report])
        return [msgspec.structs.replace(each, ahead_s=each.wall - wall if each.wall else 0.0) for each in found]

    def begin(self, machine: str, arguments: Sequence[str], within_s: float) -> Any:
        """Starts a command of the Sesame installed on the machine with this id. Pass the result to `outcome`."""
        # It imports Ray, which is there from here on.
        from sesame.on_ray.actors import actor_name

        try:
            node = self._ray.get_actor(actor_name(machine), NAMESPACE)
        except ValueError:
            return Ran(1, "", "its actor is gone")
        return node.run.remote(list(arguments), within_s)

    def outcome(self, begun: Any, within_s: float) -> Ran | None:
        """The result of a command from `begin`; None if it has not ended within `within_s` seconds."""
        if isinstance(begun, Ran):
            return begun
        try:
            return msgspec.convert(self._ray.get(begun, timeout=within_s), Ran)
        except self._ray.exceptions.GetTimeoutError:
            return None
        except self._ray.exceptions.RayError as error:
            return Ran(1, "", f"its actor was lost meanwhile: {_first_line(error)}")

    def drain_node(self, machine: str) -> bool:
        """Ends the node on the machine of this id in peace; false if it did not end in time."""
        # As in `begin`.
        from sesame.on_ray.actors import actor_name

        try:
            node = self._ray.get_actor(actor_name(machine), NAMESPACE)
            return bool(self._ray.get(node.drain.remote()))
        except (ValueError, self._ray.exceptions.RayError) as error:
            raise ConfigurationError(f"the actor of that machine does not answer: {_first_line(error)}") from error

    def upgrades(self, who: str, *, ends: bool = False) -> str:
        """Why `who` may not upgrade nodes now, "" where it may, for `policies.TURN_S`."""
        return str(self._asked(self._placer.upgrades.remote(who, ends=ends), ANSWER_S))

    def upgrader(self) -> str:
        """Who upgrades nodes now, "" for nobody, and where the placer is of a version that does not tell."""
        asks = getattr(self._placer, "upgrader", None)
        return "" if asks is None else str(self._asked(asks.remote(), ANSWER_S))

    def drain(self) -> list[Report]:
        """Ends all nodes in peace, then what placed them; returns those that had to be given up."""
        left = msgspec.convert(self._asked(self._placer.drain.remote(), None), list[Report])
        self._ray.kill(self._placer)
        return left

    def watch(self, note: Callable[[str], None], wait: Callable[[float], bool]) -> None:
        """Notes what changes, until `wait`, which is told how long, says yes. Raises `Stopped` and `Elsewhere`."""
        before: dict[str, Report] = {}
        away, head = False, str(self._ray.get_runtime_context().gcs_address)
        unheard = 0
        while not wait(WATCHED_EVERY_S):
            try:
                reports = self.reports()
            except Stopped:
                raise
            except ConfigurationError:
                if not away:
                    note(
                        "Nothing is heard of the nodes' placer: what runs goes on, and none is placed until it is back."
                    )
                away = True
                unheard += 1
                if unheard >= UNHEARD_MAX and reached(head):
                    raise Elsewhere(f"nothing is heard of the nodes' placer, and {head} answers") from None
                continue
            if away:
                note("The placer is heard of again.")
            away, unheard = False, 0
            for line in changes(before, reports):
                note(line)
            before = {report.machine: report for report in reports}

    def drains(self) -> bool:
        """Whether the cluster is being drained, or has been stopped."""
        try:
            return bool(self._asked(self._placer.drains.remote(), ANSWER_S))
        except Stopped:
            return True

    def runs_by(self, order: Order) -> bool:
        """Whether the cluster was started with this order."""
        return bool(self._asked(self._placer.digest.remote(), ANSWER_S) == order.digest)

    def _asked(self, reference: Any, within_s: float | None) -> Any:
        try:
            return self._ray.get(reference, timeout=within_s)
        except self._ray.exceptions.ActorDiedError as error:
            raise Stopped("the cluster has been stopped; `sesame start --cluster` starts it again") from error
        except self._ray.exceptions.RayError as error:
            raise ConfigurationError(f"the cluster's placer does not answer: {_first_line(error)}") from error


@contextlib.contextmanager
def begun(address: str | None, order: Order) -> Iterator[Cluster]:
    """The cluster, started if there is none. Raises `ConfigurationError` if one runs with another order."""
    with connected(address) as ray:
        # It imports Ray, which is there from here on.
        from sesame.on_ray import actors

        cluster = Cluster(ray, actors.placer(order))
        while cluster.drains():
            # A drain was requested; complete it, in case whoever requested it has left.
            with contextlib.suppress(Stopped):
                cluster.drain()
            time.sleep(NAME_FREE_S)
            cluster = Cluster(ray, actors.placer(order))
        if not cluster.runs_by(order):
            raise ConfigurationError(
                "a cluster with other settings runs on this Ray; expected the same ones, or none: stop it with "
                "`sesame cluster stop`"
            )
        yield cluster


@contextlib.contextmanager
def running(address: str | None) -> Iterator[Cluster | None]:
    """The cluster that runs on this Ray; None if there is none."""
    with connected(address) as ray:
        from sesame.on_ray import actors

        try:
            placer = ray.get_actor(actors.PLACER, NAMESPACE)
        except ValueError:
            placer = None
        yield None if placer is None else Cluster(ray, placer)


@contextlib.contextmanager
def required(address: str | None) -> Iterator[Cluster]:
    """Like `running`, but raises `ConfigurationError` if there is no cluster."""
    with running(address) as found:
        if found is None:
            raise ConfigurationError("no cluster of Sesame runs on this Ray; `sesame start --cluster` starts one")
        yield found


def changes(before: dict[str, Report], now: list[Report]) -> Iterator[str]:
    """Yields a line for each machine that was added or removed, or whose node's state has changed."""
    for report in now:
        was = before.get(report.machine)
        if was is None or (was.state, was.starts, was.url) != (report.state, report.starts, report.url):
            yield described(report)
    for machine in before.keys() - {report.machine for report in now}:
        yield f"{before[machine].address} ({before[machine].host}): gone from Ray"


def described(report: Report) -> str:
    """One line about the node, followed by what it wrote when it ended."""
    again = f", start {report.starts}" if report.starts > 1 else ""
    state = "its actor is not heard of" if report.state == LOST else report.state
    state = f"serves at {report.url}" if report.url else state
    said = "".join(f"\n    {line}" for line in report.said.splitlines())
    return f"{report.address} ({report.host}): {state}{again}{said}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
