"""The definition of API 2023-03-30 (FC 3.0), from which the endpoint is built.

Used by `fc.app`.
"""

from sesame.fc.api_version import ApiVersion
from sesame.fc.dependencies import VersionDependencies
from sesame.fc.requests import Handler
from sesame.fc.v2023.errors import FORM
from sesame.fc.v2023.naming import FunctionInPath
from sesame.fc.v2023.operations import OPERATIONS, PREFIX
from sesame.fc.v2023.routes.account import AccountRoutes
from sesame.fc.v2023.routes.configs import ConfigRoutes
from sesame.fc.v2023.routes.functions import FunctionRoutes, VersionRoutes
from sesame.fc.v2023.routes.sessions import InstanceRoutes, SessionRoutes
from sesame.fc.v2023.routes.shared import DomainRoutes, LayerRoutes
from sesame.fc.v2023.routes.tasks import TaskRoutes
from sesame.fc.v2023.routes.triggers import TriggerRoutes


def _handlers(parts: VersionDependencies) -> dict[str, Handler]:
    control, arns = parts.given.control, parts.given.arns
    handlers: dict[str, Handler] = {}
    for routes in (
        FunctionRoutes(control, parts.links, arns),
        VersionRoutes(control),
        TriggerRoutes(control.triggers, arns),
        ConfigRoutes(control, arns, parts.given.engine),
        TaskRoutes(control.async_invocations, arns),
        LayerRoutes(control, parts.links, arns),
        DomainRoutes(control, arns),
        AccountRoutes(control, arns),
        SessionRoutes(control, parts.given.engine),
        InstanceRoutes(parts.instances),
    ):
        handlers |= routes.handlers()
    return handlers


VERSION = ApiVersion(name=PREFIX[1:], operations=OPERATIONS, handlers=_handlers, naming=FunctionInPath(), errors=FORM)
