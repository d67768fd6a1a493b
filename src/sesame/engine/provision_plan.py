"""The plan of one configuration of provisioned instances: its target at a given time, and when that changes next.

Created by `engine.provision_targets`. Depends only on the configuration and the time, so a restarted server arrives at
the same target; only the measurements of tracking policies are lost.
"""

import msgspec

from sesame.engine.provisioned import Provision
from sesame.engine.scaling import within
from sesame.model import schedules
from sesame.model.configs import ProvisionConfig, ScheduledAction, TargetTrackingPolicy
from sesame.model.invocation import Target
from sesame.model.schedules import At, Cron


class _Action(msgspec.Struct, frozen=True):
    """A parsed scheduled action. It is due only after `after` and up to `until`, in Unix seconds."""

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
    """Call `advance` to move the plan to a time; all other methods answer for that time."""

    def __init__(self, config: ProvisionConfig, since: float) -> None:
        """`since` is when the configuration was written (Unix seconds): actions due before are ignored."""
        self.target = Target(config.service, config.qualifier, config.function)
        self._config = config
        self._actions = [_read(each, since) for each in config.scheduled_actions]
        self._policies = [_period(each) for each in config.target_tracking_policies]
        self._base = config.target
        self._tracked: int | None = None
        self._now = since
        self._next: list[float | None] = [each.next_at(since) for each in self._actions]

    def advance(self, now: float) -> None:
        """POLICY: of several missed actions the newest applies; of those due at the same time, the last in the list."""
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
        """The policies that apply now."""
        return [each.policy for each in self._policies if each.start <= self._now < each.end]

    def track(self, count: int) -> None:
        """Sets the number of instances that follows from the policies' measurements."""
        self._tracked = count

    def provision(self) -> Provision:
        count = self._base if self._tracked is None else self._tracked
        return Provision(self.target, within(count, self.policies()), self._config.always_allocate_cpu)

    def next_at(self) -> float | None:
        """When the plan must be advanced next, in Unix seconds; None if nothing changes any more."""
        edges = [edge for each in self._policies for edge in (each.start, each.end) if edge > self._now]
        return min([*edges, *(due for due in self._next if due is not None)], default=None)


def _read(action: ScheduledAction, since: float) -> _Action:
    zone = action.time_zone or ""
    start, end = schedules.moment(action.start_time, zone), schedules.moment(action.end_time, zone)
    # `next_at` searches strictly after a time, so step back to include an action due at the start itself.
    after = max(start - 1, since)
    return _Action(schedules.action(action.schedule_expression, zone), after, end, action.target)


def _period(policy: TargetTrackingPolicy) -> _Tracking:
    zone = policy.time_zone or ""
    return _Tracking(schedules.moment(policy.start_time, zone), schedules.moment(policy.end_time, zone), policy)
