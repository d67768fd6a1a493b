"""A home: where it sends calls, when it grants, and what it waits for when another was home before.

Run by pytest.
"""

import random

from sesame.placement.credits import HOLD_S, LIFE_S, MEMBERSHIP_S, Ask, Bounds, Credit, Line, Refused
from sesame.placement.holding import Holding
from sesame.placement.home import UNSURE_S, Answer, Decision, Home
from sesame.placement.homes import Homes, Member, Members

LINE = Line("1")
BOUNDS = Bounds(function=10, on_demand={"1": 4})
# Every agent there is has been one for so long that nobody else's credits can last.
LATER = 1000.0
BIG = 1024 * 1024


class Machine:
    """Some agents that know the same; `big` is home of everything, and after it `next`."""

    def __init__(self) -> None:
        agents = [Member("big", "big", BIG * 1000), Member("next", "next", BIG), Member("small", "small", 1)]
        self.homes = Homes(Members(1, {each.name: each for each in agents}))
        self.home = {name: self.of(name, 0.0) for name in self.homes.members.agents}
        self.holding = {name: Holding(name, 1) for name in self.homes.members.agents}

    def of(self, name: str, now: float) -> Home:
        return Home(name, self.homes, random.Random(1), now)

    def want(self, agent: str, count: int, now: float, home: str = "big") -> int:
        holding = self.holding[agent]
        credit = self.home[home].answer("f", holding.ask({LINE: count} if count else {}, now), BOUNDS, now)
        if isinstance(credit, Credit):
            holding.take(credit)
        return holding.usable(LINE, now)

    def lose(self, name: str) -> None:
        members = self.homes.members
        revision, agents = members.revision + 1, dict(members.agents)
        self.homes.learn(Members(revision, agents, {**members.left, name: (agents.pop(name), revision)}))
        del self.home[name]

    def join_huge(self, now: float) -> None:
        """It becomes home of everything."""
        members = self.homes.members
        revision = members.revision + 1
        huge = Member("huge", "huge", BIG * 1_000_000, revision)
        self.homes.learn(Members(revision, {**members.agents, "huge": huge}, members.left))
        self.home["huge"] = self.of("huge", now)

    def place(self, now: float, home: str = "big") -> Decision | Refused:
        return self.home[home].place("f", "1", BOUNDS, now)


def test_a_call_goes_where_an_instance_is_idle_and_else_to_a_start() -> None:
    machine = Machine()
    assert machine.place(LATER) == Decision(Answer.START)
    machine.want("small", 1, LATER)
    machine.home["big"].idle("f", "1", "small", 1)
    assert machine.place(LATER) == Decision(Answer.IDLE, "small")
    # It has been given away.
    assert machine.place(LATER) == Decision(Answer.START)
    machine.home["big"].idle("f", "2", "small", 1)
    assert machine.place(LATER) == Decision(Answer.START)


def test_at_the_cap_nothing_is_started_and_what_is_given_back_is_free() -> None:
    machine = Machine()
    assert [machine.want("small", 4, LATER), machine.want("small", 4, LATER)] == [2, 3]
    assert machine.want("next", 4, LATER) == 1
    assert machine.place(LATER) == Decision(Answer.FULL)
    assert machine.want("next", 4, LATER) == 1
    assert machine.want("small", 1, LATER) == 1
    assert machine.place(LATER) == Decision(Answer.START)
    assert machine.want("next", 4, LATER) == 2


def test_only_the_home_answers_members_and_not_before_it_knows_what_they_know() -> None:
    machine = Machine()
    assert machine.place(LATER, home="next") is Refused.NOT_HOME
    for ask, refused in (
        (Ask("small", 2, 1, {LINE: 1}), Refused.AHEAD),
        (Ask("stranger", 1, 1, {LINE: 1}), Refused.NO_MEMBER),
    ):
        assert machine.home["big"].answer("f", ask, BOUNDS, LATER) is refused
    assert machine.home["next"].answer("f", Ask("small", 1, 1, {LINE: 1}), BOUNDS, LATER) is Refused.NOT_HOME


def test_the_first_home_of_all_waits_as_it_cannot_know_who_was_there_before() -> None:
    machine = Machine()
    assert machine.place(1.0) == Decision(Answer.WAIT)
    assert machine.place(MEMBERSHIP_S + HOLD_S) == Decision(Answer.START)


def test_a_new_home_grants_nothing_until_what_is_lost_has_ended_and_who_lives_goes_on() -> None:
    machine = Machine()
    machine.want("small", 2, LATER)
    machine.want("small", 2, LATER)
    machine.lose("big")
    home = machine.home["next"]
    home.learned(LATER + 1)
    for agent in ("small", "next"):
        machine.holding[agent].learn(2)
        # It keeps what it has, and gets no more.
        assert machine.want(agent, 3, LATER + 1, home="next") == {"small": 2, "next": 0}[agent]
        home.told(agent, 2)
    assert machine.place(LATER + HOLD_S, home="next") == Decision(Answer.WAIT)
    assert machine.want("small", 2, LATER + HOLD_S - 2, home="next") == 2
    assert machine.place(LATER + 1 + HOLD_S, home="next") == Decision(Answer.START)
    assert machine.want("next", 4, LATER + 1 + HOLD_S, home="next") == 1


def test_where_the_lost_one_is_known_to_have_ended_and_all_have_told_it_grants_at_once() -> None:
    machine = Machine()
    machine.want("small", 1, LATER)
    machine.lose("big")
    home = machine.home["next"]
    home.learned(LATER + 1)
    machine.holding["small"].learn(2)
    assert machine.want("small", 1, LATER + 1, home="next") == 1
    home.told("small", 2)
    home.told("next", 2)
    assert machine.place(LATER + 1, home="next") == Decision(Answer.WAIT)
    home.gone("big")
    assert machine.place(LATER + 1, home="next") == Decision(Answer.START)


def test_a_home_that_lives_hands_over_and_the_next_goes_on_at_once() -> None:
    machine = Machine()
    machine.want("small", 4, LATER)
    machine.want("small", 4, LATER)
    machine.join_huge(LATER)
    assert machine.place(LATER, home="huge") == Decision(Answer.WAIT)
    machine.home["huge"] = machine.of("huge", LATER)
    for name in ("big", "next", "small"):
        machine.home["huge"].receive(machine.home[name].learned(LATER)["huge"], LATER)
    assert machine.place(LATER, home="big") is Refused.NOT_HOME
    # Three are out, so one is left; who has not learned of it yet is told to.
    assert machine.want("next", 4, LATER, home="huge") == 0
    machine.holding["next"].learn(2)
    assert machine.want("next", 4, LATER, home="huge") == 1
    assert machine.place(LATER, home="huge") == Decision(Answer.FULL)


def test_what_a_home_could_not_know_the_next_one_does_not_know_either() -> None:
    machine = Machine()
    machine.want("small", 1, LATER)
    machine.lose("big")
    for name in ("next", "small"):
        machine.home[name].learned(LATER + 1)
    # Nobody has asked for the function since, so there is no ledger to hand over.
    machine.join_huge(LATER + 2)
    for name in ("next", "small"):
        machine.home["huge"].receive(machine.home[name].learned(LATER + 2)["huge"], LATER + 2)
    assert machine.place(LATER + 3, home="huge") == Decision(Answer.WAIT)
    assert machine.place(LATER + 2 + UNSURE_S, home="huge") == Decision(Answer.START)


def test_credits_end_by_themselves() -> None:
    machine = Machine()
    machine.want("small", 1, LATER)
    machine.home["big"].idle("f", "1", "small", 1)
    assert machine.holding["small"].usable(LINE, LATER + LIFE_S - 0.1) == 1
    assert machine.holding["small"].usable(LINE, LATER + LIFE_S) == 0
    assert machine.want("next", 9, LATER + LIFE_S) == 2
    assert machine.want("next", 9, LATER + HOLD_S) == 3


def test_a_lowered_cap_takes_nothing_away_and_says_how_much_is_too_much() -> None:
    machine = Machine()
    machine.want("small", 4, LATER)
    ask = machine.holding["small"].ask({LINE: 2}, LATER)
    credit = machine.home["big"].answer("f", ask, Bounds(function=1), LATER)
    assert credit == Credit(ask.number, {LINE: 2}, surplus=1)


def test_provisioned_instances_count_for_the_function_alone() -> None:
    machine = Machine()
    kept = Line("1", provisioned=True)
    home = machine.home["big"]
    assert isinstance(home.answer("f", Ask("small", 1, 1, {kept: 8}), BOUNDS, LATER), Credit)
    credit = home.answer("f", Ask("small", 1, 2, {kept: 8, LINE: 9}), BOUNDS, LATER)
    assert credit == Credit(2, {kept: 8, LINE: 1})


def test_what_nobody_holds_is_forgotten() -> None:
    machine = Machine()
    machine.want("small", 1, LATER)
    machine.home["big"].clear(LATER)
    assert machine.want("small", 1, LATER) == 1
    machine.want("small", 0, LATER)
    machine.home["big"].clear(LATER)
    assert machine.place(LATER) == Decision(Answer.START)
