"""Homes: everyone finds the same, each agent has its part, and nothing moves that need not.

Run by pytest.
"""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from sesame.placement.homes import Homes, Member, Members, score

FUNCTIONS = [f"f{number}" for number in range(200)]
sizes = st.lists(st.sampled_from([512, 1024, 4096]), min_size=1, max_size=12)


def members(memory_mb: list[int], revision: int = 1) -> Members:
    return Members(revision, {f"n{n}": Member(f"n{n}", f"n{n}", each, 1) for n, each in enumerate(memory_mb)})


def joined(before: Members, place: str, memory_mb: int) -> Members:
    revision = before.revision + 1
    member = Member(f"{place}-{revision}", place, memory_mb, revision)
    return Members(revision, {**before.agents, member.name: member}, before.left)


def without(before: Members, name: str) -> Members:
    revision, agents = before.revision + 1, dict(before.agents)
    return Members(revision, agents, {**before.left, name: (agents.pop(name), revision)})


@settings(max_examples=examples(30), deadline=None)
@given(sizes, st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=12))
def test_what_is_kept_is_what_would_be_found_and_only_what_must_move_moves(
    memory_mb: list[int], changes: list[tuple[bool, int]]
) -> None:
    known = members(memory_mb)
    kept = Homes(known)
    for comes, number in changes:
        before = {each: kept.home(each) for each in FUNCTIONS[number:]}
        names = sorted(known.agents)
        if comes or len(names) == 1:
            known = joined(known, f"m{known.revision}", 1024)
            changed = (known.agents.keys() - set(names)).pop()
        else:
            changed = names[number % len(names)]
            known = without(known, changed)
        kept.learn(known)
        anew = Homes(known)
        for function in FUNCTIONS:
            home = kept.home(function)
            assert home == anew.home(function)
            if function in before and home != before[function]:
                assert changed == (home if changed in known.agents else before[function])


def test_each_agent_is_home_of_its_part_by_memory() -> None:
    found = Homes(members([1024, 2048, 3072]))
    counts = Counter(found.home(f"function-{number}") for number in range(12_000))
    for name, part in (("n0", 2000), ("n1", 4000), ("n2", 6000)):
        assert abs(counts[name] - part) < 5 * part**0.5


def test_homes_are_the_same_in_every_process_and_version() -> None:
    found = Homes(members([1024] * 5))
    assert [found.home(f"f{number}") for number in range(8)] == ["n0", "n2", "n3", "n1", "n4", "n4", "n3", "n0"]
    assert score(Member("a", "p", 1), "f") == score(Member("b", "p", 1), "f")


def test_an_agent_that_is_restarted_is_home_of_the_same_functions() -> None:
    first = members([1024] * 5)
    restarted = joined(without(first, "n2"), "n2", 1024)
    before, after = Homes(first), Homes(restarted)
    for function in FUNCTIONS:
        assert after.home(function).partition("-")[0] == before.home(function)


def test_who_may_have_been_home_since() -> None:
    first = members([1024] * 6)
    function = "f"
    second = joined(first, "m", 1024 * 1024)
    third = without(second, "m-2")
    alone, new, back = Homes(first), Homes(second), Homes(third)
    home = alone.home(function)
    # Nothing has changed; a new agent took it from the one before; it was lost, and so the one before has it again.
    assert alone.others_since(function, 1) == []
    assert [each.name for each in new.others_since(function, 1)] == [home]
    assert back.home(function) == home
    assert [each.name for each in back.others_since(function, 1)] == ["m-2"]
    assert back.others_since(function, 3) == []
    # Who knows nothing of the time before cannot leave anyone out who was there.
    assert {each.name for each in alone.others_since(function, -1)} == first.agents.keys() - {home}
