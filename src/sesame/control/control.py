"""The parts of `control` that endpoints call, built together.

Built by `app`, which passes what `control` needs from other packages; passed to the endpoints.
"""

from collections.abc import Callable

import msgspec

from sesame.control.aliases import Aliases
from sesame.control.async_configs import AsyncConfigs
from sesame.control.async_invocations import AsyncInvocations, Queue
from sesame.control.async_policies import AsyncPolicies
from sesame.control.code import CodeSource
from sesame.control.code_uploads import CodeUploads
from sesame.control.dead_letters import DeadLetters, Deliveries
from sesame.control.domains import Domains
from sesame.control.event_sources import EventSources
from sesame.control.function_states import FunctionStates
from sesame.control.functions import Functions
from sesame.control.http_triggers import HttpTriggers
from sesame.control.layers import Layers
from sesame.control.on_demand_configs import OnDemandConfigs
from sesame.control.own_hosts import OwnHosts
from sesame.control.provision_configs import ProvisionConfigs
from sesame.control.scaling_configs import ScalingConfigs
from sesame.control.services import CheckRole, Services
from sesame.control.sessions import Sessions
from sesame.control.tags import ServiceTags
from sesame.control.trigger_firing import TriggerFiring
from sesame.control.triggers import Triggers
from sesame.control.versions import Versions
from sesame.control.vpc import VpcBindings
from sesame.control.whole_functions import WholeFunctions
from sesame.model.arn import Arns
from sesame.store.catalog import Catalog


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """Collaborators from other packages. `check_role(arn)` raises `Rejected` for roles that cannot be assumed.

    `wall_clock` returns Unix seconds. `expected_url(url)` says what to expect instead of a URL that no record is sent
    to, or "". `no_buckets` is the reason why functions cannot mount buckets, or "".
    """

    code: CodeSource
    check_role: CheckRole
    arns: Arns
    own_hosts: OwnHosts
    queue: Queue
    deliveries: Deliveries
    wall_clock: Callable[[], float]
    expected_url: Callable[[str], str] = lambda _url: ""
    no_buckets: str = ""


class Control(msgspec.Struct, frozen=True):
    """Everything that edits the catalog for callers. `code_uploads` is None without object storage."""

    services: Services
    functions: Functions
    whole_functions: WholeFunctions
    function_states: FunctionStates
    scaling_configs: ScalingConfigs
    sessions: Sessions
    versions: Versions
    aliases: Aliases
    triggers: Triggers
    layers: Layers
    domains: Domains
    tags: ServiceTags
    async_configs: AsyncConfigs
    async_invocations: AsyncInvocations
    dead_letters: DeadLetters
    provision_configs: ProvisionConfigs
    on_demand_configs: OnDemandConfigs
    vpc_bindings: VpcBindings
    event_sources: EventSources
    http_triggers: HttpTriggers
    trigger_firing: TriggerFiring
    code_uploads: CodeUploads | None

    @classmethod
    def over(cls, catalog: Catalog, needs: Needs) -> "Control":
        code = needs.code
        services = Services(catalog, needs.check_role, needs.no_buckets)
        functions = Functions(catalog, code, needs.queue)
        async_configs = AsyncConfigs(catalog, needs.arns, needs.expected_url)
        invocations = AsyncInvocations(catalog, needs.queue, AsyncPolicies(catalog).policy_of, needs.wall_clock)
        return cls(
            services=services,
            functions=functions,
            whole_functions=WholeFunctions(catalog, functions, services),
            function_states=FunctionStates(catalog, needs.wall_clock),
            scaling_configs=ScalingConfigs(catalog),
            sessions=Sessions(catalog, needs.wall_clock),
            versions=Versions(catalog),
            aliases=Aliases(catalog),
            triggers=Triggers(catalog, needs.arns),
            layers=Layers(catalog, code),
            domains=Domains(catalog, needs.own_hosts),
            tags=ServiceTags(catalog, needs.arns),
            async_configs=async_configs,
            async_invocations=invocations,
            dead_letters=DeadLetters(needs.deliveries),
            provision_configs=ProvisionConfigs(catalog),
            on_demand_configs=OnDemandConfigs(catalog),
            vpc_bindings=VpcBindings(catalog),
            event_sources=EventSources(catalog),
            http_triggers=HttpTriggers(catalog),
            trigger_firing=TriggerFiring(catalog, invocations, needs.arns, needs.wall_clock),
            code_uploads=code.uploads,
        )
