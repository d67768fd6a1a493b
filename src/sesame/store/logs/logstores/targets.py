"""Decides whether a function's lines may go to the logstore that its service names.

Called by the server's side of the log writer for each batch, and by `GetService` through the endpoint.
"""

from collections.abc import Callable

from sesame.model.errors import NotFound
from sesame.model.logstore import LOG_PROJECT
from sesame.model.owner import owner_phrase
from sesame.model.service import Service
from sesame.store.logs.file import SourceKey
from sesame.store.logs.logstores.metadata import Metadata
from sesame.store.logs.routes import Route

MULTI_LINE_RULE = "DefaultRegex"

# The service as frozen in a version, or its current state; None if it is deleted.
ServiceOf = Callable[[str, str], Service | None]
# Why the role of a service does not allow writing to a project's logstore; "" if it does.
Objection = Callable[[Service, str, str], str]


class LogTargets:
    """Reads only memory; belongs to the event loop's thread."""

    def __init__(self, metadata: Metadata, service_of: ServiceOf, objection: Objection) -> None:
        self._metadata = metadata
        self._service_of = service_of
        self._objection = objection

    def route(self, source: SourceKey) -> Route | str:
        service = self._service_of(source.service, source.version_id)
        if service is None:
            return f"{owner_phrase(source.service)} does not exist any more"
        return self._route(service, source.log_project, source.logstore)

    def problem(self, service: Service) -> str:
        """Why its functions' output is not in the logstore of its `logConfig`; "" if it is, or none is set."""
        config = service.log_config
        route = self._route(service, config.project, config.logstore) if config.project else ""
        return route if isinstance(route, str) else ""

    def _route(self, service: Service, project: str, logstore: str) -> Route | str:
        try:
            known = self._metadata.known(project, logstore)
        except NotFound as missing:
            what = "project" if missing.kind == LOG_PROJECT else "logstore"
            return f"{what} {missing.name} is not in the Log Service: make it there, or name another in logConfig"
        objection = self._objection(service, project, logstore)
        if objection:
            return objection
        multi_line = service.log_config.log_begin_rule == MULTI_LINE_RULE
        return Route(known.id, multi_line)
