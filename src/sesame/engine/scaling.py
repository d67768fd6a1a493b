"""Every decision about provisioned instances: how many are wanted, of which snapshots, and which of them go.

Pure functions of plain values and instances; called by `engine.provisioned`, which acts on the answers.
"""

import math
from collections.abc import Sequence

from sesame.engine.instance import Instance, State
from sesame.engine.policies import start_backoff_s
from sesame.model.configs import TargetTrackingPolicy

# POLICY: an instance that has lived for so long was sound, and is replaced at once when it ends.
SOUND_AFTER_S = 60.0
# POLICY: at most one in so many provisioned instances goes at a time while a policy tracks them.
SCALE_IN_PART = 4


def split(count: int, weights: Sequence[float]) -> list[int]:
    """`count` instances in proportion to the weights; what is left over goes to the largest rests.

    POLICY: of an alias with a canary each version has its share, so that the canary's calls find warm instances too.
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
    """The instances of a wanted snapshot that are more than are wanted.

    POLICY: those that have been idle longest go first, and those that serve a call last.
    """
    by_use = sorted(current, key=lambda i: (i.state is not State.IDLE, i.idle_since))
    return by_use[: max(len(current) - wanted, 0)]


def to_replace(former: Sequence[Instance], ready: int, wanted: int, *, short: bool = False) -> list[Instance]:
    """The instances of snapshots that are not wanted any more which go now.

    POLICY: one goes for each new one that is ready, so that there is never less than what is wanted. Where there is no
    capacity for a new one beside them (`short`), one goes first.
    """
    staying = max(wanted - ready, 0)
    leaving = max(len(former) - staying, 1 if short else 0)
    return to_release(former, len(former) - leaving)


def next_start_s(failures: int, losses: int) -> float:
    """Seconds until the next start, after so many starts in a row that failed and instances that did not last."""
    worst = max(failures, losses)
    return start_backoff_s(worst) if worst else 0.0


def tracked(count: int, utilization: float, policy: TargetTrackingPolicy) -> int:
    """How many there are to be where `count` instances were used to this share (of 1 in all).

    POLICY: out at once to as many as would be used to the policy's target; in step by step, at most a quarter of them
    at a time, because what is called less for a minute may be called more in the next.
    """
    wanted = math.ceil(count * utilization / policy.metric_target)
    return max(wanted, count - max(1, count // SCALE_IN_PART)) if wanted < count else wanted


def within(count: int, policies: Sequence[TargetTrackingPolicy]) -> int:
    """`count` within the capacities of the policies that hold now.

    POLICY: where they differ the most counts, as an instance too many costs less than calls that wait.
    """
    return max((min(max(count, each.min_capacity), each.max_capacity) for each in policies), default=count)
