"""The plan of one configuration of provisioned instances: the target that holds at a moment, and when it changes next.

Made by `engine.provision_targets`. Follows from the configuration and the time alone, so that a server that starts
again comes to the same target; only what a tracking policy measured is forgotten then.
"""

import msgspec

from sesame.engine.provisioned import Provision
from sesame.engine.scaling import within
from sesame.model import schedules
from sesame.model.configs import ProvisionConfig, ScheduledAction, TargetTrackingPolicy
from sesame.model.invocation import Target
from sesame.model.schedules import At, Cron


class _Action(msgspec.Struct, frozen=True):
    """A scheduled action, read. It comes due after `after` until `until`, in Unix seconds."""

    schedule: At | Cron
    after: float
    until: float
    target: int

    def next_at(self, after: float) -> float | None:
        found = schedules.next_time(self.schedule, max(after, self.after))
        return None if found is None or found > self.until else found


class _Tracking(msgspec.Struct, frozen=True):
    start: float
    end: float
    policy: TargetTrackingPolicy


class Plan:
    """`advance` moves it to a time; what it says holds for that time."""

    def __init__(self, config: ProvisionConfig, since: float) -> None:
        """`since` is when the configuration was written (Unix seconds): what came due before is past."""
        self.target = Target(config.service, config.qualifier, config.function)
        self._config = config
        self._actions = [_read(each, since) for each in config.scheduled_actions]
        self._policies = [_period(each) for each in config.target_tracking_policies]
        self._base = config.target
        self._tracked: int | None = None
        self._now = since
        self._next: list[float | None] = [each.next_at(since) for each in self._actions]

    def advance(self, now: float) -> None:
        """POLICY: of actions that were missed the newest counts, and of those due at one time the last of the list."""
        self._now = now
        newest: tuple[float, int] | None = None
        for index, (action, due) in enumerate(zip(self._actions, self._next, strict=True)):
            if due is not None and due <= now:
                last = schedules.newest_due(action.schedule, due, min(now, action.until))
                newest = max(newest, (last, index)) if newest is not None else (last, index)
                self._next[index] = action.next_at(now)
        if newest is not None:
            self._base, self._tracked = self._actions[newest[1]].target, None
        if not self.policies():
            self._tracked = None

    def policies(self) -> list[TargetTrackingPolicy]:
        """Those that hold now."""
        return [each.policy for each in self._policies if each.start <= self._now < each.end]

    def track(self, count: int) -> None:
        """What the policies measured asks for so many."""
        self._tracked = count

    def provision(self) -> Provision:
        count = self._base if self._tracked is None else self._tracked
        return Provision(self.target, within(count, self.policies()), self._config.always_allocate_cpu)

    def next_at(self) -> float | None:
        """When it is to be advanced next."""
        edges = [edge for each in self._policies for edge in (each.start, each.end) if edge > self._now]
        return min([*edges, *(due for due in self._next if due is not None)], default=None)


def _read(action: ScheduledAction, since: float) -> _Action:
    zone = action.time_zone or ""
    start, end = schedules.moment(action.start_time, zone), schedules.moment(action.end_time, zone)
    # What is due at the start itself comes after the moment before it.
    after = max(start - 1, since)
    return _Action(schedules.action(action.schedule_expression, zone), after, end, action.target)


def _period(policy: TargetTrackingPolicy) -> _Tracking:
    zone = policy.time_zone or ""
    return _Tracking(schedules.moment(policy.start_time, zone), schedules.moment(policy.end_time, zone), policy)
