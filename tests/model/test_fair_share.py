"""Shares of a fixed amount: nobody takes all, who waits is served in turn, and nothing is lost or given twice.

Run by pytest.
"""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesame.model.fair_share import FairSlots, may_have


@pytest.mark.parametrize("clients", [1, 2, 8, 30])
@pytest.mark.parametrize("total", [64, 341, 4096])
def test_however_many_ask_for_everything_something_is_left(total: int, clients: int) -> None:
    held, free = [0] * clients, total
    going = True
    while going:
        going = False
        for number in range(clients):
            if may_have(held[number], free):
                held[number], free, going = held[number] + 1, free - 1, True
    assert abs(held[0] - total / (clients + 2)) <= 2
    assert free >= min(total / (clients + 2), 1)
    assert may_have(0, free)


async def test_who_waits_is_served_in_turn_and_a_client_that_left_is_passed_over() -> None:
    slots = FairSlots(1, each=4)
    await slots.wait("a")
    order: list[str] = []

    async def ask(client: str) -> None:
        await slots.wait(client)
        order.append(client)
        slots.give_back(client)

    asking = [asyncio.create_task(ask(client)) for client in ("a", "a", "a", "b", "c", "c")]
    leaving = asyncio.create_task(ask("d"))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    slots.give_back("a")
    async with asyncio.timeout(60):
        await asyncio.gather(*asking)
    assert order == ["a", "b", "c", "a", "c", "a"]
    assert [slots.take("x"), slots.take("y")] == [True, False]


async def test_a_client_has_no_more_than_its_bound() -> None:
    slots = FairSlots(1000, each=4)
    assert [slots.take("a") for _ in range(6)] == [True] * 4 + [False] * 2
    waiting = asyncio.create_task(slots.wait("a"))
    await asyncio.sleep(0)
    assert not waiting.done()
    slots.give_back("b") if slots.take("b") else None
    await asyncio.sleep(0)
    assert not waiting.done()
    slots.give_back("a")
    async with asyncio.timeout(60):
        await waiting


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=80))
def test_slots_are_neither_lost_nor_made(steps: list[tuple[str, bool]]) -> None:
    slots, held = FairSlots(6, each=3), dict.fromkeys("abcd", 0)
    for client, takes in steps:
        if takes:
            held[client] += slots.take(client)
        elif held[client]:
            slots.give_back(client)
            held[client] -= 1
        assert sum(held.values()) <= 6
        assert max(held.values()) <= 3
    for client, number in held.items():
        for _ in range(number):
            slots.give_back(client)
    assert [slots.take(client) for client in "abcd"] == [True] * 4
