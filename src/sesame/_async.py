"""Builds and starts the parts that run asynchronous invocations and deliver their records.

Called last by `app`, so that functions that run at once find the endpoints ready.
"""

import asyncio
import os
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from sesame._engine import EngineParts
from sesame._identity import Identity
from sesame._patience import Patience
from sesame._storage import Storage
from sesame.control.async_policies import AsyncPolicies
from sesame.destinations.deliverer import Deliverer, DelivererNeeds
from sesame.destinations.following import Destinations, FollowingNeeds
from sesame.destinations.reach import Reach
from sesame.destinations.routes import Routes
from sesame.destinations.sender import HttpSender
from sesame.destinations.silent import tell_silent_destinations
from sesame.engine.async_invoker import AsyncInvoker
from sesame.engine.async_work import InvokerDependencies
from sesame.engine.host_load import HostLoad
from sesame.engine.resolver import Snapshots
from sesame.fc.wording import worded
from sesame.identity.service_rights import ServiceRights
from sesame.model import records
from sesame.model.arn import Arns
from sesame.model.clocks import Clocks
from sesame.model.errors import CallerError
from sesame.model.invocation import Target
from sesame.settings import Settings
from sesame.store.catalog import Catalog
from sesame.store.queue.leases import LEASE_S

# Only needed with several agents.
if TYPE_CHECKING:
    from sesame.agents.writer import Writer


class AsyncNeeds(msgspec.Struct, frozen=True):
    """The collaborators of asynchronous invocations. `teardown` ends what is started, waiting as `patience` allows.

    With a `writer`, its followers run invocations too. `reach` says where callers' records may be sent.
    """

    settings: Settings
    clocks: Clocks
    teardown: AsyncExitStack
    patience: Patience
    reach: Reach
    writer: "Writer | None" = None


class _Rights:
    """Whether a function may invoke another one as its destination, in the role of its service.

    POLICY: for a deleted function, the current role of its service counts; for a deleted service, there is none.
    The caller that set the destination had the permission to invoke it.
    """

    def __init__(self, catalog: Catalog, snapshots: Snapshots, rights: ServiceRights, arns: Arns) -> None:
        self._catalog = catalog
        self._snapshots = snapshots
        self._rights = rights
        self._arns = arns

    def objection(self, caller: Target, target: Target) -> str:
        try:
            self._snapshots.resolve(target)
        except CallerError as error:
            return str(worded(error))
        role, resource = self._role_of(caller), self._arns.of_target(target)
        return self._rights.objection(caller.service, role, "fc:InvokeFunction", resource)

    def _role_of(self, caller: Target) -> str:
        try:
            return self._snapshots.resolve(caller).role
        except CallerError:
            record = self._catalog.get(records.SERVICE, "", caller.service)
            return "" if record is None else str(record.document.role)


async def open_async(needs: AsyncNeeds, storage: Storage, identity: Identity, engine: EngineParts) -> None:
    """At the end, running calls have time to finish while the endpoints still serve them."""
    settings, clocks, teardown = needs.settings, needs.clocks, needs.teardown
    arns = Arns(settings.region, identity.account_id)
    routes = Routes(arns, settings.destinations)
    policy_of = AsyncPolicies(storage.catalog).policy_of
    rights = ServiceRights(identity.roles, identity.authorization, clocks.wall)
    destinations = Destinations(
        FollowingNeeds(
            arns=arns,
            routes=routes,
            clocks=clocks,
            policy_of=policy_of,
            objection=_Rights(storage.catalog, engine.resolver, rights, arns).objection,
        )
    )
    deliverer = Deliverer(
        DelivererNeeds(
            queue=storage.queue.deliveries,
            accept=storage.queue.enqueue,
            destinations=destinations,
            routes=routes,
            sender=HttpSender(needs.reach),
            arns=arns,
            clocks=clocks,
            chance=random.random,
        )
    )
    load, others = HostLoad(), None
    if needs.writer is not None:
        from sesame.agents.async_places import AsyncPlaces

        others = AsyncPlaces(needs.writer, engine.engine, load)
    invoker = AsyncInvoker(
        InvokerDependencies(
            queue=storage.queue,
            engine=engine.engine,
            clocks=clocks,
            follow=destinations.follow,
            wording=_wording,
            load=load,
            chance=random.random,
            cores=os.cpu_count() or 1,
            lease_s=LEASE_S,
            others=others,
        )
    )
    tell_silent_destinations(storage.catalog, routes)
    teardown.push_async_callback(_close, invoker, deliverer, needs.patience)
    deliverer.start()
    invoker.start()


async def _close(invoker: AsyncInvoker, deliverer: Deliverer, patience: Patience) -> None:
    """Ends both; whichever ends last leaves unfinished records to the next start."""
    await asyncio.gather(*(patience.end(each.close, each.hurry) for each in (invoker, deliverer)))


def _wording(error: CallerError) -> tuple[int, str, str]:
    refusal = worded(error)
    return refusal.status, refusal.code, str(refusal)
