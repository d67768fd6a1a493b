"""Builds the writer's side of several agents, if a supervisor started this process as one of them.

Called by `app`: `open_writer` once the engine exists, `Writer.offer` once the endpoints do.
"""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sesame._engine import EngineParts
from sesame._storage import Storage
from sesame.agents.followed import Measured, WriterNeeds, not_measured
from sesame.agents.idle_there import hear_idle
from sesame.agents.place import Place
from sesame.agents.served import Served
from sesame.agents.writer import Writer
from sesame.engine.interface import Observer
from sesame.identity.nonces import UsedNonces
from sesame.model.clocks import Clocks
from sesame.sandbox.network import HostAnswers

# Only needed in a cluster.
if TYPE_CHECKING:
    from sesame.cluster.members import Members


class AgentsNeeds(msgspec.Struct, frozen=True):
    """`trusted` is the certificate file for functions, or None. `teardown` closes what is opened.

    With `members`, followers run on other machines and connect by themselves; `nonces` are those already used. Calls
    have `drain_s` to end when the writer is replaced. `measured` takes rows of metrics from followers.
    """

    place: Place
    clocks: Clocks
    teardown: AsyncExitStack
    observer: Observer
    answers: HostAnswers
    trusted: Path | None
    members: "Members | None" = None
    drain_s: float = 0.0
    nonces: UsedNonces | None = None
    measured: Measured = not_measured


async def open_writer(needs: AgentsNeeds, storage: Storage, engine: EngineParts) -> Writer:
    """On return this writer knows everything that followers hold."""
    place, members = needs.place, needs.members
    writer_needs = WriterNeeds(
        catalog=storage.catalog,
        resolver=engine.resolver,
        served=Served(engine.resolver, storage.catalog),
        pool=engine.engine.pool,
        sink=storage.log_sink,
        observer=needs.observer,
        packages=storage.packages,
        answers=needs.answers,
        clocks=needs.clocks,
        trusted="" if needs.trusted is None else str(needs.trusted),
        lives=members,
        drain_s=needs.drain_s,
        measured=needs.measured,
        recorded=storage.recordings.take,
    )
    if members is None:
        writer = Writer(writer_needs, place.hangs, place.told.held)
        needs.teardown.push_async_callback(writer.close)
        place.attend(lambda agent, connected, held: writer.meet(agent, connected, held=held), writer.rest)
    else:
        writer = Writer(writer_needs, members.give_up, members.awaited)
        if needs.nonces is not None:
            writer.nonces = needs.nonces
        needs.teardown.push_async_callback(writer.close)
        needs.teardown.callback(members.close)
        # Imported only in a cluster.
        from sesame._tunnels import tunnels_of_writer

        tunnels_of_writer(members, writer, needs.teardown)
        members.serve(writer)
    engine.engine.invoke = writer.calls.around(engine.engine.invoke)
    # Which calls a change ends is known only after the followers have applied it and reported their own.
    engine.engine.hear_others = lambda: hear_idle(list(writer.followers.values()))
    await writer.open()
    return writer
