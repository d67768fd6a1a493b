"""Sends the output of functions to the logstores of their services, as far as the services' roles allow it.

Called by `app`, once storage and identity exist.
"""

from sesame._identity import Identity
from sesame._storage import Storage
from sesame.control.views import service_view
from sesame.identity.service_rights import ServiceRights
from sesame.model.arn import Arns
from sesame.model.clocks import Clocks
from sesame.model.errors import NotFound
from sesame.model.owner import owner_phrase
from sesame.model.service import Service
from sesame.settings import Settings
from sesame.store.catalog import Catalog
from sesame.store.logs.logstores.targets import LogTargets
from sesame.store.logs.routing import Router

WRITE_LOGS = "log:PostLogStoreLogs"


class _Services:
    """A service's configuration and the permissions of its role, for the log targets.

    If no lines are `kept`, because the program that runs this Sesame takes them, none go to logstores either.
    """

    def __init__(self, catalog: Catalog, rights: ServiceRights, arns: Arns, *, kept: bool) -> None:
        self._kept = kept
        self._catalog = catalog
        self._rights = rights
        self._arns = arns

    def service_of(self, name: str, version_id: str) -> Service | None:
        try:
            document: Service = service_view(self._catalog, name, version_id).document
        except NotFound:
            return None
        return document

    def objection(self, service: Service, project: str, logstore: str) -> str:
        """Why the service may not write to the logstore, or "". As in the cloud, it needs a role."""
        if not self._kept:
            return "the program that runs this Sesame takes what functions write"
        resource = self._arns.logstore(project, logstore)
        if not service.role:
            return (
                f"{owner_phrase(service.service_name)} has no role: give it one that allows {WRITE_LOGS} on {resource}"
            )
        return self._rights.objection(service.service_name, service.role, WRITE_LOGS, resource)


def open_log_targets(settings: Settings, clocks: Clocks, storage: Storage, identity: Identity) -> LogTargets:
    """Connects the log store to the targets of lines."""
    arns = Arns(settings.region, identity.account_id)
    rights = ServiceRights(identity.roles, identity.authorization, clocks.wall)
    services = _Services(storage.catalog, rights, arns, kept=storage.logs is not None)
    targets = LogTargets(storage.logstores.metadata, services.service_of, services.objection)
    if storage.logs is not None:
        storage.logs.router = Router(targets.route)
    return targets
