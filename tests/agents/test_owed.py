"""What a follower owes its writer, and which questions are answered meanwhile."""

import asyncio

from sesame.agents.owed import Owed


def test_whoever_does_not_show_a_change_is_not_told_that_its_writer_is_there() -> None:
    owed = Owed()
    owed.asked()
    assert owed.to_answer() == 1
    owed.sent(5)
    owed.asked()
    owed.asked()
    owed.sent(6)
    owed.asked()
    assert owed.to_answer() == 0
    owed.seen(5)
    assert owed.to_answer() == 2, "what was asked before the next change came"
    owed.another_link()
    owed.sent(6)
    owed.asked()
    assert owed.to_answer() == 0, "everything is sent again"
    owed.seen(6)
    assert owed.to_answer() == 1


async def test_an_edit_waits_until_it_is_shown_or_nothing_is() -> None:
    owed = Owed()
    waits = [asyncio.ensure_future(owed.shown(revision)) for revision in (1, 2, 3)]
    await asyncio.sleep(0)
    owed.seen(2)
    await asyncio.gather(*waits[:2])
    owed.another_link()
    await asyncio.sleep(0)
    assert not waits[2].done(), "over another link it is shown later"
    owed.nothing()
    await waits[2]
    owed.seen(3)
    await owed.shown(3)


def test_one_that_has_not_taken_a_change_is_told_from_one_that_is_busy_with_it() -> None:
    owed = Owed()
    owed.looked()
    owed.here()
    owed.sent(1)
    owed.looked()
    owed.sent(2)
    owed.looked()
    owed.seen(1)
    owed.here()
    assert not owed.fails, "the second one came behind the question"
    owed.here()
    assert owed.fails
    owed.another_link()
    assert not owed.fails
    owed.here()
    assert not owed.fails, "of a question over the link before"
