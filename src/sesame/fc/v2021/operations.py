"""API 2021-04-06 in one table: every operation with its method, path, input and answer.

Read through `fc.v2021.version` to route, to name actions and to describe the API (reference/api.md §4).
"""

from sesame.fc.operations import ListOf, Operation, Table
from sesame.fc.services import inputs as shared
from sesame.fc.services import shapes as shared_shapes
from sesame.fc.services import shapes_account, shapes_async
from sesame.fc.shapes import CodeAnswer, VersionAnswer, VpcIds
from sesame.fc.v2021 import inputs, shapes

PREFIX = "/2021-04-06"
_PAGE = ("limit", "nextToken", "prefix", "startKey")
_SERVICE = "/services/{service}"
_FUNCTIONS = _SERVICE + "/functions"
_FUNCTION = _FUNCTIONS + "/{function}"
_TRIGGERS = _FUNCTION + "/triggers"
_VERSIONS = _SERVICE + "/versions"
_ALIASES = _SERVICE + "/aliases"
_BINDINGS = _SERVICE + "/bindings"
_STATEFUL = _FUNCTION + "/stateful-async-invocations"
_INSTANCES = _FUNCTION + "/instances"
_SOURCES = _FUNCTION + "/event-sources"
_LAYER = "/layers/{layer}"
_DOMAINS = "/custom-domains"

_op = Table(PREFIX).op
_IF_MATCH = ("If-Match",)
_QUALIFIER = ("qualifier",)
_INVOCATIONS = (
    "qualifier", "limit", "nextToken", "status", "startedTimeBegin", "startedTimeEnd", "sortOrderByTime",
    "invocationIdPrefix", "includePayload",
)  # fmt: skip
_INVOKE_HEADERS = (
    "X-Fc-Invocation-Type", "X-Fc-Log-Type", "X-Fc-Trace-Id", "X-Fc-Async-Delay", "X-Fc-Stateful-Async-Invocation-Id",
    "X-Fc-Stateful-Async-Invocation-Enable",
)  # fmt: skip

# fmt: off
OPERATIONS: tuple[Operation, ...] = (
    _op("CreateService", "POST /services", "Creates a service.",
        takes=inputs.ServiceInput, needs=("serviceName",), answers=shapes.ServiceAnswer),
    _op("ListServices", "GET /services", "Services by name.",
        query=_PAGE, answers=ListOf("services", shapes.ServiceAnswer)),
    _op("GetService", f"GET {_SERVICE}", "A service, or a version of it.",
        query=_QUALIFIER, answers=shapes.ServiceAnswer),
    _op("UpdateService", f"PUT {_SERVICE}", "Updates the fields that are sent.",
        takes=inputs.ServiceInput, headers=_IF_MATCH, answers=shapes.ServiceAnswer),
    _op("DeleteService", f"DELETE {_SERVICE}", "Removes an empty service.", headers=_IF_MATCH),

    _op("CreateFunction", f"POST {_FUNCTIONS}", "Creates a function.",
        takes=shared.FunctionInput, needs=("functionName", "runtime", "handler", "code"),
        headers=("X-Fc-Code-Checksum",), answers=shapes.FunctionAnswer),
    _op("ListFunctions", f"GET {_FUNCTIONS}", "Functions by name.",
        query=(*_PAGE, "qualifier"), answers=ListOf("functions", shapes.FunctionAnswer)),
    _op("GetFunction", f"GET {_FUNCTION}", "A function, without its code.",
        query=_QUALIFIER, answers=shapes.FunctionAnswer),
    _op("UpdateFunction", f"PUT {_FUNCTION}", "Updates the fields that are sent.",
        takes=shared.FunctionInput, headers=("If-Match", "X-Fc-Code-Checksum"), answers=shapes.FunctionAnswer),
    _op("DeleteFunction", f"DELETE {_FUNCTION}", "Removes a function without triggers.", headers=_IF_MATCH),
    _op("GetFunctionCode", f"GET {_FUNCTION}/code", "A link to the code.",
        query=_QUALIFIER, answers=CodeAnswer),
    _op("InvokeFunction", f"POST {_FUNCTION}/invocations", "Calls a function with the body as its event.",
        query=_QUALIFIER, headers=_INVOKE_HEADERS, answers=bytes),

    _op("PublishServiceVersion", f"POST {_VERSIONS}", "Freezes the service and its functions under the next number.",
        takes=shared.PublishInput, headers=_IF_MATCH, answers=VersionAnswer),
    _op("ListServiceVersions", f"GET {_VERSIONS}", "Versions, newest first unless `direction` is FORWARD.",
        query=("limit", "nextToken", "startKey", "direction"), answers=ListOf("versions", VersionAnswer)),
    _op("DeleteServiceVersion", f"DELETE {_VERSIONS}/{{version}}", "Removes a version; its number is not given again."),
    _op("CreateAlias", f"POST {_ALIASES}", "Creates an alias of a version.",
        takes=shared.AliasInput, needs=("aliasName", "versionId"), answers=shared_shapes.AliasAnswer),
    _op("ListAliases", f"GET {_ALIASES}", "Aliases by name.",
        query=_PAGE, answers=ListOf("aliases", shared_shapes.AliasAnswer)),
    _op("GetAlias", f"GET {_ALIASES}/{{alias}}", "An alias.", answers=shared_shapes.AliasAnswer),
    _op("UpdateAlias", f"PUT {_ALIASES}/{{alias}}", "Moves an alias, or changes its weights.",
        takes=shared.AliasInput, headers=_IF_MATCH, answers=shared_shapes.AliasAnswer),
    _op("DeleteAlias", f"DELETE {_ALIASES}/{{alias}}", "Removes an alias.", headers=_IF_MATCH),

    _op("CreateTrigger", f"POST {_TRIGGERS}", "Creates a trigger.",
        takes=inputs.TriggerInput, needs=("triggerName", "triggerType", "triggerConfig"), answers=shapes.TriggerAnswer),
    _op("ListTriggers", f"GET {_TRIGGERS}", "Triggers by name.",
        query=_PAGE, answers=ListOf("triggers", shapes.TriggerAnswer)),
    _op("GetTrigger", f"GET {_TRIGGERS}/{{trigger}}", "A trigger.", answers=shapes.TriggerAnswer),
    _op("UpdateTrigger", f"PUT {_TRIGGERS}/{{trigger}}", "Updates the fields that are sent.",
        takes=inputs.TriggerInput, headers=_IF_MATCH, answers=shapes.TriggerAnswer),
    _op("DeleteTrigger", f"DELETE {_TRIGGERS}/{{trigger}}", "Removes a trigger.", headers=_IF_MATCH),

    _op("PutFunctionAsyncInvokeConfig", f"PUT {_FUNCTION}/async-invoke-config", "Configures asynchronous calls.",
        query=_QUALIFIER, takes=shared.AsyncConfigInput, answers=shapes_account.AsyncConfigAnswer),
    _op("GetFunctionAsyncInvokeConfig", f"GET {_FUNCTION}/async-invoke-config",
        "The configuration of asynchronous calls.",
        query=_QUALIFIER, answers=shapes_account.AsyncConfigAnswer),
    _op("DeleteFunctionAsyncInvokeConfig", f"DELETE {_FUNCTION}/async-invoke-config", "Removes the configuration.",
        query=_QUALIFIER),
    _op("ListFunctionAsyncInvokeConfigs", f"GET {_FUNCTION}/async-invoke-configs", "Those of all qualifiers.",
        query=("limit", "nextToken"), answers=ListOf("configs", shapes_account.AsyncConfigAnswer, or_null=True)),
    _op("GetStatefulAsyncInvocation", f"GET {_STATEFUL}/{{invocation}}", "A stateful asynchronous invocation.",
        query=_QUALIFIER, answers=shapes_async.StatefulInvocationAnswer),
    _op("StopStatefulAsyncInvocation", f"PUT {_STATEFUL}/{{invocation}}",
        "Stops an invocation: a queued one never starts, a running one is killed with its instance.", query=_QUALIFIER),
    _op("ListStatefulAsyncInvocations", f"GET {_STATEFUL}", "Stateful invocations of a function, the newest first.",
        query=_INVOCATIONS, answers=ListOf("invocations", shapes_async.StatefulInvocationAnswer, or_null=True)),
    _op("ListStatefulAsyncInvocationFunctions", "GET /stateful-async-invocation-functions",
        "Functions that have stateful invocations, or are configured to.",
        query=("limit", "nextToken"), answers=ListOf("data", shapes_async.FunctionWithInvocations)),

    _op("PutProvisionConfig", f"PUT {_FUNCTION}/provision-config", "Sets how many instances are kept ready.",
        query=_QUALIFIER, takes=shared.ProvisionInput, needs=("target",), headers=_IF_MATCH,
        answers=shapes_account.ProvisionAnswer),
    _op("GetProvisionConfig", f"GET {_FUNCTION}/provision-config", "How many instances are kept ready.",
        query=_QUALIFIER, answers=shapes_account.ProvisionAnswer),
    _op("ListProvisionConfigs", "GET /provision-configs", "The configurations of one service, or of all.",
        query=("serviceName", "qualifier", "limit", "nextToken"),
        answers=ListOf("provisionConfigs", shapes_account.ProvisionAnswer)),
    _op("PutFunctionOnDemandConfig", f"PUT {_FUNCTION}/on-demand-config", "Limits the number of instances.",
        query=_QUALIFIER, takes=shared.OnDemandInput, needs=("maximumInstanceCount",), headers=_IF_MATCH,
        answers=shapes_account.OnDemandAnswer),
    _op("GetFunctionOnDemandConfig", f"GET {_FUNCTION}/on-demand-config", "The bound.",
        query=_QUALIFIER, answers=shapes_account.OnDemandAnswer),
    _op("DeleteFunctionOnDemandConfig", f"DELETE {_FUNCTION}/on-demand-config", "Removes the limit.",
        query=_QUALIFIER, headers=_IF_MATCH),
    _op("ListOnDemandConfigs", "GET /on-demand-configs", "All limits, by resource.",
        query=_PAGE, answers=ListOf("configs", shapes_account.OnDemandAnswer, or_null=True)),

    _op("CreateCustomDomain", f"POST {_DOMAINS}", "Routes the paths of a host name to functions.",
        takes=shared.CustomDomainInput, needs=("domainName",), answers=shapes_account.DomainAnswer),
    _op("ListCustomDomains", f"GET {_DOMAINS}", "Domains by name.",
        query=_PAGE, answers=ListOf("customDomains", shapes_account.DomainAnswer)),
    _op("GetCustomDomain", f"GET {_DOMAINS}/{{domain}}", "A domain.", answers=shapes_account.DomainAnswer),
    _op("UpdateCustomDomain", f"PUT {_DOMAINS}/{{domain}}", "Updates the fields that are sent.",
        takes=shared.CustomDomainInput, answers=shapes_account.DomainAnswer),
    _op("DeleteCustomDomain", f"DELETE {_DOMAINS}/{{domain}}", "Removes a domain."),

    _op("CreateLayerVersion", f"POST {_LAYER}/versions", "Publishes the next version of a layer.",
        takes=shared.LayerInput, needs=("code",), answers=shapes.LayerCreated),
    _op("ListLayerVersions", f"GET {_LAYER}/versions", "Versions by number.",
        query=("limit", "startVersion"),
        answers=ListOf("layers", shapes_account.LayerAnswer, next_token="nextVersion")),
    _op("GetLayerVersion", f"GET {_LAYER}/versions/{{version}}", "A version.", answers=shapes_account.LayerAnswer),
    _op("DeleteLayerVersion", f"DELETE {_LAYER}/versions/{{version}}", "Removes a version."),
    _op("ListLayers", "GET /layers", "The newest version of each layer.",
        query=(*_PAGE, "public", "official"), answers=ListOf("layers", shapes_account.LayerAnswer)),
    _op("PutLayerACL", f"PUT {_LAYER}/acl", "Makes a layer public, or private again.", query=("public",)),

    _op("TagResource", "POST /tag", "Tags a service.", takes=shared.TagInput, needs=("resourceArn", "tags")),
    _op("UntagResource", "PUT /tag", "Removes tags.", takes=shared.UntagInput, needs=("resourceArn",)),
    _op("GetResourceTags", "GET /tag", "A service's tags.",
        query=("resourceArn",), needs=("resourceArn",), answers=shapes_account.TagsAnswer),
    _op("ListTaggedResources", "GET /tags", "Every service that has tags.",
        query=("limit", "nextToken"), answers=ListOf("resources", shapes_account.TaggedResource)),

    _op("CreateVpcBinding", f"POST {_BINDINGS}", "Binds a service to a VPC; nothing is connected.",
        takes=shared.VpcBindingInput, needs=("vpcId",)),
    _op("DeleteVpcBinding", f"DELETE {_BINDINGS}/{{vpc}}", "Removes a binding."),
    _op("ListVpcBindings", f"GET {_BINDINGS}", "The VPCs that a service is bound to.", answers=VpcIds),
    _op("RegisterEventSource", f"POST {_SOURCES}", "Records an event source of a function; nothing is connected.",
        query=_QUALIFIER, takes=inputs.EventSourceInput, needs=("sourceArn",), answers=shapes.EventSourceAnswer),
    _op("DeregisterEventSource", f"DELETE {_SOURCES}/{{source}}", "Removes an event source.", query=_QUALIFIER),
    _op("ListEventSources", f"GET {_SOURCES}", "The recorded event sources.",
        query=_QUALIFIER, answers=shapes.EventSources),

    _op("ListInstances", f"GET {_INSTANCES}", "The running instances of a function.",
        query=("qualifier", "limit", "instanceIds"), answers=ListOf("instances", shapes_account.InstanceAnswer)),
    _op("InstanceExec", f"GET {_INSTANCES}/{{instance}}/exec", "A command in an instance, over a websocket.",
        query=("qualifier", "command", "stdin", "stdout", "stderr", "tty", "idleTimeout"), upgrades=True),
    _op("ClaimGPUInstance", "POST /gpuInstances", "Refused: there are no GPU instances here.",
        takes=inputs.GpuInstanceInput, answers=shapes.GpuInstance),
    _op("ReleaseGPUInstance", "DELETE /gpuInstances/{instance}", "Refused: there are none."),
    _op("ListReservedCapacities", "GET /reserved-capacities", "Always empty: nothing can be reserved here.",
        query=("limit", "nextToken"), answers=ListOf("reservedCapacities", shapes_account.ReservedCapacity)),
    _op("GetAccountSettings", "GET /account-settings", "The account's zones and role.",
        answers=shapes_account.AccountSettingsAnswer),
)
# fmt: on
