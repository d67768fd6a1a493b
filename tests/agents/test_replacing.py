"""In which order agents are replaced by new ones."""

from sesame.agents.replacing import FAILURES_MAX, Next, Replacing


def test_followers_go_one_after_the_other_and_the_writer_last() -> None:
    replacing, stopped = Replacing([2, 1, 3], together=False), []
    while not replacing.done:
        done, numbers = replacing.step(all_ready=True, failures=0)
        assert done is Next.STOP
        stopped += numbers
        assert replacing.step(all_ready=False, failures=0) == (Next.WAIT, [])
        replacing.ended(numbers[0])
        assert replacing.step(all_ready=False, failures=0) == (Next.WAIT, [])
        replacing.replaced(numbers[0])
    assert stopped == [2, 3, 1]


def test_none_is_stopped_while_another_is_not_ready() -> None:
    replacing = Replacing([1, 2], together=False)
    assert replacing.step(all_ready=False, failures=0) == (Next.WAIT, [])


def test_one_that_has_ended_by_itself_is_not_stopped_again() -> None:
    replacing = Replacing([1, 2, 3], together=False)
    replacing.ended(2)
    assert replacing.step(all_ready=True, failures=0) == (Next.WAIT, [])
    replacing.replaced(2)
    assert replacing.step(all_ready=True, failures=0) == (Next.STOP, [3])


def test_where_a_new_one_does_not_start_the_others_stay() -> None:
    replacing = Replacing([1, 2, 3], together=False)
    assert replacing.step(all_ready=True, failures=0) == (Next.STOP, [2])
    replacing.ended(2)
    assert replacing.step(all_ready=False, failures=FAILURES_MAX) == (Next.GIVE_UP, [])
    assert replacing.done


def test_those_that_could_not_speak_to_new_ones_go_together() -> None:
    replacing = Replacing([1, 2, 3], together=True)
    assert replacing.step(all_ready=False, failures=0) == (Next.STOP, [2, 3, 1])
    for number in (1, 2, 3):
        replacing.ended(number)
        replacing.replaced(number)
    assert replacing.done


def test_one_in_whose_place_none_comes_is_not_waited_for() -> None:
    replacing = Replacing([1, 2, 3], together=True)
    replacing.step(all_ready=True, failures=0)
    for number in (1, 2, 3):
        replacing.ended(number, comes_again=number == 1)
    assert not replacing.done
    replacing.replaced(1)
    assert replacing.done
