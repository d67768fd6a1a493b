"""Every decision about provisioned instances: how many of which snapshots are wanted, and which ones to release.

Pure functions of plain values and instances; called by `engine.provisioned`, which acts on the answers.
"""

import math
from collections.abc import Sequence

from sesame.engine.instance import Instance, State
from sesame.engine.policies import start_backoff_s
from sesame.model.configs import TargetTrackingPolicy

# POLICY: an instance that lived this long was healthy, and is replaced at once when it ends.
SOUND_AFTER_S = 60.0
# POLICY: while a policy tracks the instances, at most one in this many is released at a time.
SCALE_IN_PART = 4


def split(count: int, weights: Sequence[float]) -> list[int]:
    """Splits `count` instances in proportion to the weights; the largest remainders are rounded up.

    POLICY: each version of an alias with a canary has its share, so that the canary's calls find warm instances too.
    """
    if not weights:
        return []
    exact = [count * weight / sum(weights) for weight in weights]
    parts = [int(each) for each in exact]
    by_rest = sorted(range(len(parts)), key=lambda index: (parts[index] - exact[index], index))
    for index in by_rest[: count - sum(parts)]:
        parts[index] += 1
    return parts


def to_release(current: Sequence[Instance], wanted: int) -> list[Instance]:
    """Returns the surplus instances of a wanted snapshot.

    POLICY: the instance idle longest is released first, and those that serve a call last.
    """
    by_use = sorted(current, key=lambda i: (i.state is not State.IDLE, i.idle_since))
    return by_use[: max(len(current) - wanted, 0)]


def to_replace(former: Sequence[Instance], ready: int, wanted: int, *, short: bool = False) -> list[Instance]:
    """Returns the instances of no longer wanted snapshots to release now.

    POLICY: release one for each new one that is ready, so that there are never fewer than wanted. If there is no
    capacity to start a new one beside them (`short`), release one first.
    """
    staying = max(wanted - ready, 0)
    leaving = max(len(former) - staying, 1 if short else 0)
    return to_release(former, len(former) - leaving)


def next_start_s(failures: int, losses: int) -> float:
    """Seconds until the next start after `failures` failed starts in a row and `losses` short-lived instances."""
    worst = max(failures, losses)
    return start_backoff_s(worst) if worst else 0.0


def tracked(count: int, utilization: float, policy: TargetTrackingPolicy) -> int:
    """How many instances are wanted if `count` of them had this mean `utilization` (0 to 1).

    POLICY: scale out at once to as many as bring the utilization to the policy's target. Scale in step by step, by at
    most a quarter at a time, because a function called less in one minute may be called more in the next.
    """
    wanted = math.ceil(count * utilization / policy.metric_target)
    return max(wanted, count - max(1, count // SCALE_IN_PART)) if wanted < count else wanted


def within(count: int, policies: Sequence[TargetTrackingPolicy]) -> int:
    """Brings `count` within the bounds of the policies that apply now.

    POLICY: if they disagree, the largest result applies, because a surplus instance costs less than waiting calls.
    """
    return max((min(max(count, each.min_capacity), each.max_capacity) for each in policies), default=count)
