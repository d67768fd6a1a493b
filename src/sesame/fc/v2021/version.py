"""The definition of API 2021-04-06, from which the endpoint is built.

Used by `fc.app`.
"""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from sesame.fc import requests
from sesame.fc.api_version import ApiVersion
from sesame.fc.dependencies import VersionDependencies
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
from sesame.fc.targets import QualifierInQuery
from sesame.fc.v2021 import inputs, shapes
from sesame.fc.v2021.errors import ERRORS
from sesame.fc.v2021.operations import OPERATIONS, PREFIX
from sesame.fc.v2021.routes.bindings import BindingRoutes
from sesame.fc.v2021.routes.gpu_instances import GpuInstanceRoutes

NAME = PREFIX[1:]
# Operations that the shared routes know by another name.
_RENAMED = {
    "PublishServiceVersion": "PublishVersion",
    "ListServiceVersions": "ListVersions",
    "DeleteServiceVersion": "DeleteVersion",
}


def _no_content(_request: Request) -> Response:
    return requests.no_content()


def _handlers(parts: VersionDependencies) -> dict[str, Handler]:
    given, control, arns = parts.given, parts.given.control, parts.given.arns
    handlers: dict[str, Handler] = {}
    for routes in (
        ServiceRoutes(control, given.log_problem, ServiceForm(inputs.ServiceInput, shapes.service)),
        FunctionRoutes(control.functions, parts.links, partial(shapes.function, arns=arns)),
        VersionRoutes(control),
        TriggerRoutes(control.triggers, TriggerForm(inputs.TriggerInput, partial(shapes.trigger, arns=arns))),
        ConfigRoutes(control, arns, given.engine),
        AsyncInvocationRoutes(control.async_invocations),
        DomainRoutes(control.domains, arns.account_id, NAME),
        LayerRoutes(control.layers, parts.links, arns, LayerForm(shapes.layer_created, _no_content)),
        TagRoutes(control.tags, arns, _no_content),
        BindingRoutes(control.vpc_bindings, control.event_sources),
        InstanceRoutes(parts.instances),
        GpuInstanceRoutes(),
        AccountRoutes(control, given.account, arns),
    ):
        handlers |= routes.handlers()
    return handlers | {name: handlers[other] for name, other in _RENAMED.items()}


VERSION = ApiVersion(
    name=NAME,
    operations=OPERATIONS,
    handlers=_handlers,
    naming=QualifierInQuery(),
    errors=ERRORS,
)
