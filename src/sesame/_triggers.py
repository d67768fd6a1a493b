"""Opens the sources of events: triggers on objects and logs, and timers.

Called by `app` before the endpoints listen, so that no object changes without its event.
"""

from contextlib import AsyncExitStack

import msgspec

from sesame._identity import Identity
from sesame._storage import Storage
from sesame.identity.invocation_roles import InvocationRoles
from sesame.model.arn import Arns
from sesame.model.clocks import Clocks
from sesame.settings import Settings
from sesame.triggers.log_arrivals import LogArrivalNeeds, LogTriggers
from sesame.triggers.object_events import ObjectEventNeeds, ObjectEventTriggers
from sesame.triggers.silent import tell_silent_triggers
from sesame.triggers.timers import TimerNeeds, TimerTriggers

PASSING_ON = "passing on events of objects"
TIMERS = "firing timers"
TELLING_OF_LOGS = "firing log triggers"
# As in the cloud. Sesame's Log Service answers under this name too.
LOG_ENDPOINT = "http://{region}-intranet.log.aliyuncs.com"


class TriggerNeeds(msgspec.Struct, frozen=True):
    """The collaborators of triggers. `teardown` ends what is started."""

    settings: Settings
    clocks: Clocks
    teardown: AsyncExitStack


async def open_triggers(needs: TriggerNeeds, storage: Storage, identity: Identity) -> None:
    arns = Arns(needs.settings.region, identity.account_id)
    roles = InvocationRoles(identity.roles, identity.authorization, arns, needs.clocks.wall)
    objects = ObjectEventTriggers(
        ObjectEventNeeds(
            catalog=storage.catalog,
            database=storage.objects.database,
            events=storage.objects.events,
            queue=storage.queue,
            roles=roles,
            arns=arns,
            clocks=needs.clocks,
        )
    )
    objects.open()
    storage.background.keep(PASSING_ON, objects.run)
    needs.teardown.push_async_callback(storage.background.stop, PASSING_ON)
    timers = TimerTriggers(
        TimerNeeds(
            catalog=storage.catalog,
            database=storage.objects.database,
            queue=storage.queue,
            roles=roles,
            clocks=needs.clocks,
        )
    )
    arrivals = LogTriggers(
        LogArrivalNeeds(
            catalog=storage.catalog,
            database=storage.objects.database,
            logstores=storage.logstores,
            queue=storage.queue,
            roles=roles,
            endpoint=LOG_ENDPOINT.format(region=needs.settings.region),
            clocks=needs.clocks,
        )
    )
    await arrivals.open()
    storage.background.keep(TELLING_OF_LOGS, arrivals.run)
    needs.teardown.push_async_callback(storage.background.stop, TELLING_OF_LOGS)
    await timers.open()
    needs.teardown.callback(timers.close)
    storage.background.keep(TIMERS, timers.run)
    needs.teardown.push_async_callback(storage.background.stop, TIMERS)
    tell_silent_triggers(storage.catalog, roles.objection)
