"""The plan of a configuration: which target holds at which moment, by scheduled actions and bounds of policies.

Run by pytest.
"""

import pytest

from sesame.engine.provision_plan import Plan
from sesame.model.configs import CONCURRENCY_UTILIZATION, ProvisionConfig, ScheduledAction, TargetTrackingPolicy
from sesame.model.schedules import utc

START, END = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
HOUR_S, DAY_S = 3600.0, 86400.0
WRITTEN = utc("2026-01-01T00:30:00Z")
MORNING = ScheduledAction("up", START, END, 8, "cron(0 0 8 * * *)")
EVENING = ScheduledAction("down", START, END, 1, "cron(0 0 20 * * *)")


def plan(*actions: ScheduledAction, policies: tuple[TargetTrackingPolicy, ...] = (), target: int = 3) -> Plan:
    config = ProvisionConfig("s", "f", "prod", target, actions, policies, always_allocate_cpu=True)
    return Plan(config, WRITTEN)


def counts(of: Plan, *times: str) -> list[int]:
    """At each time, with a plan that is advanced from one to the next."""
    found = []
    for time in times:
        of.advance(utc(time))
        found.append(of.provision().count)
    return found


def test_actions_come_due_again_and_again_and_hold_until_the_next() -> None:
    times = ("2026-01-01T07:59:59Z", "2026-01-01T08:00:00Z", "2026-01-01T19:59:59Z", "2026-01-01T20:00:00Z")
    assert counts(plan(MORNING, EVENING), *times) == [3, 8, 8, 1]
    assert plan().provision().runs_idle


def test_it_says_when_it_changes_next() -> None:
    made = plan(MORNING, EVENING)
    assert made.next_at() == utc("2026-01-01T08:00:00Z")
    made.advance(utc("2026-01-01T08:00:00Z"))
    assert made.next_at() == utc("2026-01-01T20:00:00Z")
    assert plan().next_at() is None


@pytest.mark.parametrize("time", ["2026-01-20T12:00:00Z", "2026-01-31T10:00:00Z"])
def test_a_server_that_was_down_comes_to_the_newest_target(time: str) -> None:
    assert counts(plan(EVENING, MORNING), time) == [8]


def test_after_its_end_an_action_comes_due_no_more_and_its_target_stays() -> None:
    made = plan(MORNING, EVENING)
    assert counts(made, "2026-06-01T12:00:00Z") == [1]
    assert made.next_at() is None


def test_what_came_due_before_the_configuration_was_written_is_past() -> None:
    early = ScheduledAction("early", START, END, 9, "at(2026-01-01T00:10:00Z)")
    later = ScheduledAction("later", START, END, 9, "at(2026-01-01T01:10:00Z)")
    assert counts(plan(early), "2026-01-01T02:00:00Z") == [3]
    assert counts(plan(later), "2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z") == [3, 9]


def test_what_is_due_outside_of_its_times_never_comes() -> None:
    before = ScheduledAction("a", "2026-01-05T00:00:00Z", END, 9, "at(2026-01-04T23:59:59Z)")
    at_the_start = ScheduledAction("a", "2026-01-05T00:00:00Z", END, 9, "at(2026-01-05T00:00:00Z)")
    after = ScheduledAction("a", START, "2026-01-05T00:00:00Z", 9, "at(2026-01-05T00:00:01Z)")
    for action, count in ((before, 3), (at_the_start, 9), (after, 3)):
        assert counts(plan(action), "2026-01-20T00:00:00Z") == [count]


def test_of_actions_at_one_time_the_last_of_the_list_counts() -> None:
    other = ScheduledAction("other", START, END, 5, "cron(0 0 8 * * *)")
    assert counts(plan(other, MORNING), "2026-01-01T09:00:00Z") == [8]
    assert counts(plan(MORNING, other), "2026-01-01T09:00:00Z") == [5]


def test_a_time_zone_counts_for_cron_fields_and_for_times_without_a_z() -> None:
    local = ScheduledAction("a", "2026-01-01T00:00:00", "2026-02-01T00:00:00", 8, "cron(0 0 8 * * *)", "Asia/Shanghai")
    assert counts(plan(local), "2026-01-02T00:00:00Z") == [8]
    once = ScheduledAction("a", START, END, 8, "at(2026-01-02T08:00:00)", "Asia/Shanghai")
    assert counts(plan(once), "2026-01-01T23:59:59Z", "2026-01-02T00:00:00Z") == [3, 8]


def test_a_policy_bounds_the_target_while_it_holds() -> None:
    policy = TargetTrackingPolicy(
        "p", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", CONCURRENCY_UTILIZATION, 0.6, 5, 20
    )
    made = plan(policies=(policy,))
    assert counts(made, "2026-01-01T12:00:00Z") == [3]
    assert made.next_at() == utc("2026-01-02T00:00:00Z")
    assert counts(made, "2026-01-02T00:00:00Z") == [5]
    made.track(50)
    assert counts(made, "2026-01-02T12:00:00Z") == [20]
    made.track(7)
    assert counts(made, "2026-01-02T12:00:01Z", "2026-01-03T00:00:00Z") == [7, 3]


def test_an_action_sets_anew_what_a_policy_tracks() -> None:
    policy = TargetTrackingPolicy("p", START, END, CONCURRENCY_UTILIZATION, 0.6, 2, 20)
    made = plan(MORNING, policies=(policy,))
    made.advance(utc("2026-01-01T07:00:00Z"))
    made.track(12)
    assert counts(made, "2026-01-01T07:30:00Z", "2026-01-01T08:00:00Z") == [12, 8]


def test_of_policies_that_differ_the_most_counts() -> None:
    low = TargetTrackingPolicy("low", START, END, CONCURRENCY_UTILIZATION, 0.6, 1, 4)
    high = TargetTrackingPolicy("high", START, END, CONCURRENCY_UTILIZATION, 0.6, 6, 8)
    assert counts(plan(policies=(low, high)), "2026-01-01T12:00:00Z") == [6]
