"""Builds the writer's side of several agents, if a supervisor started this process as one of them.

Called by `app`: `open_writer` once the engine exists, `Writer.offer` once the endpoints do.
"""

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from sesame._cloud import CloudTrust
from sesame._engine import EngineParts
from sesame._storage import Storage
from sesame.agents.followed import Measured, WriterNeeds
from sesame.agents.idle_there import hear_idle
from sesame.agents.served import Served
from sesame.agents.this_agent import ThisAgent
from sesame.agents.writer import Writer
from sesame.engine.interface import Observer
from sesame.model.clocks import Clocks
from sesame.sandbox.network import HostAnswers
from sesame.settings import Settings

# Only needed in a cluster.
if TYPE_CHECKING:
    from sesame.cluster.members import Members


class AgentsNeeds(msgspec.Struct, frozen=True, kw_only=True):
    """The collaborators of the writer. `teardown` closes what is opened.

    With `members`, followers run on other machines and connect by themselves. `measured` takes rows of metrics from
    followers.
    """

    settings: Settings
    this_agent: ThisAgent
    clocks: Clocks
    teardown: AsyncExitStack
    observer: Observer
    answers: HostAnswers
    trust: CloudTrust | None
    members: "Members | None"
    measured: Measured


async def open_writer(needs: AgentsNeeds, storage: Storage, engine: EngineParts) -> Writer:
    """On return this writer knows everything that followers hold."""
    settings, this_agent, members = needs.settings, needs.this_agent, needs.members
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
        trusted="" if needs.trust is None else str(needs.trust.bundle),
        lives=members,
        drain_s=settings.drain_s,
        measured=needs.measured,
        recorded=storage.recordings.take,
        images=storage.images,
    )
    if members is None:
        writer = Writer(writer_needs, this_agent.hangs, this_agent.config.held)
        needs.teardown.push_async_callback(writer.close)
        this_agent.attend(lambda agent, connected, held: writer.meet(agent, connected, held=held), writer.be_replaced)
    else:
        # Imported only in a cluster.
        from sesame._nonces import open_nonces
        from sesame._tunnels import tunnels_of_writer

        nonces = await open_nonces(storage.database, needs.clocks, storage.background, needs.teardown)
        writer = Writer(writer_needs, members.give_up, members.awaited)
        writer.nonces = nonces
        needs.teardown.push_async_callback(writer.close)
        needs.teardown.callback(members.close)
        tunnels_of_writer(members, writer, needs.teardown)
        members.serve(writer)
    # Which calls a change ends is known only after the followers have applied it and reported their own.
    engine.engine.join(writer.calls.around, lambda: hear_idle(list(writer.followers.values())))
    await writer.open()
    return writer
