"""The definition of API 2016-08-15, from which the endpoint is built.

Used by `fc.app`. Its table also contains Sesame's own operations.
"""

from sesame.destinations.routes import Routes
from sesame.fc.api_version import ApiVersion
from sesame.fc.dependencies import VersionDependencies
from sesame.fc.errors import ErrorForm
from sesame.fc.requests import Handler
from sesame.fc.services.routes.account import AccountRoutes
from sesame.fc.services.routes.async_invocations import AsyncInvocationRoutes
from sesame.fc.services.routes.configs import ConfigRoutes
from sesame.fc.services.routes.domains import DomainRoutes
from sesame.fc.services.routes.functions import FunctionRoutes
from sesame.fc.services.routes.instances import InstanceRoutes
from sesame.fc.services.routes.layers import LayerForm, LayerRoutes
from sesame.fc.services.routes.services import ServiceForm, ServiceRoutes
from sesame.fc.services.routes.tags import TagRoutes
from sesame.fc.services.routes.triggers import TriggerForm, TriggerRoutes
from sesame.fc.services.routes.versions import VersionRoutes
from sesame.fc.targets import QualifierInPath
from sesame.fc.v2016.operations import OPERATIONS, PREFIX
from sesame.fc.v2016.routes.bindings import BindingRoutes
from sesame.fc.v2016.routes.own_async_invocations import OwnAsyncInvocationRoutes
from sesame.fc.v2016.routes.own_destinations import OwnDestinationRoutes
from sesame.fc.v2016.routes.own_recordings import OwnRecordingRoutes
from sesame.fc.v2016.routes.own_triggers import OwnTriggerRoutes
from sesame.fc.wording import worded
from sesame.identity.invocation_roles import InvocationRoles


def _handlers(parts: VersionDependencies) -> dict[str, Handler]:
    given, control, arns = parts.given, parts.given.control, parts.given.arns
    roles = InvocationRoles(given.roles, given.authorization, arns, given.clocks.wall)
    handlers: dict[str, Handler] = {}
    for routes in (
        ServiceRoutes(control, given.log_problem, ServiceForm()),
        BindingRoutes(control.vpc_bindings),
        FunctionRoutes(control.functions, parts.links),
        VersionRoutes(control),
        TriggerRoutes(control.triggers, TriggerForm()),
        OwnTriggerRoutes(control.trigger_firing, roles.objection),
        ConfigRoutes(control, arns, given.engine),
        OwnDestinationRoutes(control.async_configs, Routes(arns, given.destinations)),
        AsyncInvocationRoutes(control.async_invocations),
        OwnRecordingRoutes(given.recorder, given.replays),
        OwnAsyncInvocationRoutes(control.async_invocations, control.dead_letters),
        DomainRoutes(control.domains, arns.account_id, PREFIX[1:]),
        LayerRoutes(control.layers, parts.links, arns, LayerForm()),
        TagRoutes(control.tags, arns),
        InstanceRoutes(parts.instances),
        AccountRoutes(control, given.account, arns),
    ):
        handlers |= routes.handlers()
    return handlers


VERSION = ApiVersion(
    name=PREFIX[1:],
    operations=OPERATIONS,
    handlers=_handlers,
    naming=QualifierInPath(),
    errors=ErrorForm(worded=worded),
)
