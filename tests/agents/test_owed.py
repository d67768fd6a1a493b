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


async def test_one_that_shows_nothing_more_is_told_from_one_that_is_busy_with_it() -> None:
    owed = Owed()
    owed.look(takes=False)
    assert owed.unshown == 0, "nobody waits"
    waiting = asyncio.ensure_future(owed.shown(2))
    await asyncio.sleep(0)
    for _ in range(3):
        owed.look(takes=False)
    assert owed.unshown == 3
    owed.look(takes=True)
    assert owed.unshown == 0
    owed.look(takes=False)
    owed.seen(1)
    owed.look(takes=False)
    assert owed.unshown == 0
    owed.nothing()
    await waiting
