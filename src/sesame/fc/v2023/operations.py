"""API 2023-03-30 in one table: every operation with its method, path, input and answer.

Read through `fc.v2023.version`. The files in `fc/v2023/routes/` have a handler for each operation. The names are those
of the official SDK (reference/api.md §5.1).
"""

from sesame.fc.operations import ListOf, Operation, Table
from sesame.fc.shapes import CodeAnswer, VersionAnswer, VpcIds
from sesame.fc.v2023 import inputs, inputs_settings, shapes, shapes_async, shapes_settings

PREFIX = "/2023-03-30"
_TABLE = Table(PREFIX)
_op = _TABLE.op
_PAGE = ("limit", "nextToken", "prefix")
_OF_FUNCTION = ("functionName", "limit", "nextToken")
_QUALIFIER = ("qualifier",)
_FUNCTION = "/functions/{function}"
_VERSIONS = _FUNCTION + "/versions"
_ALIASES = _FUNCTION + "/aliases"
_TRIGGERS = _FUNCTION + "/triggers"
_TASKS = _FUNCTION + "/async-tasks"
_SESSIONS = _FUNCTION + "/sessions"
_SESSION = _SESSIONS + "/{session}"
_SNAPSHOTS = _FUNCTION + "/snapshots"
_BINDINGS = _FUNCTION + "/vpc-bindings"
_INSTANCES = _FUNCTION + "/instances"
_LAYER = "/layers/{layer}"
_DOMAINS = "/custom-domains"
_TAGS = "/tags-v2"

# fmt: off
OPERATIONS: tuple[Operation, ...] = (
    _op("CreateFunction", "POST /functions", "Creates a function.",
        takes=inputs.FunctionInput, needs=("functionName", "runtime", "handler", "code"),
        answers=shapes.FunctionAnswer),
    _op("ListFunctions", "GET /functions", "Functions by name: those without a service, then `service$function`.",
        query=(*_PAGE, "fcVersion", "functionName", "description", "runtime", "gpuType", "resourceGroupId", "tags"),
        answers=ListOf("functions", shapes.FunctionAnswer)),
    _op("GetFunction", f"GET {_FUNCTION}", "A function, without its code.",
        query=_QUALIFIER, answers=shapes.FunctionAnswer),
    _op("UpdateFunction", f"PUT {_FUNCTION}", "Updates the fields that are sent.",
        takes=inputs.FunctionInput, answers=shapes.FunctionAnswer),
    _op("DeleteFunction", f"DELETE {_FUNCTION}", "Removes a function without triggers, versions and aliases."),
    _op("GetFunctionCode", f"GET {_FUNCTION}/code", "A link to the code.",
        query=_QUALIFIER, answers=CodeAnswer),
    _op("InvokeFunction", f"POST {_FUNCTION}/invocations", "Calls a function with the body as its event.",
        query=_QUALIFIER, answers=bytes,
        headers=("X-Fc-Invocation-Type", "X-Fc-Log-Type", "X-Fc-Async-Task-Id", "X-Fc-Async-Delay")),
    _op("DisableFunctionInvocation", f"POST {_FUNCTION}/invoke/disable", "Disables invocations of a function.",
        takes=inputs_settings.DisableInput, answers=shapes_settings.Success),
    _op("EnableFunctionInvocation", f"POST {_FUNCTION}/invoke/enable", "Enables invocations again.",
        answers=shapes_settings.Success),

    _op("PublishFunctionVersion", f"POST {_VERSIONS}", "Freezes the function under the next number.",
        takes=inputs_settings.PublishInput, answers=VersionAnswer),
    _op("ListFunctionVersions", f"GET {_VERSIONS}", "Versions, newest first unless `direction` is FORWARD.",
        query=("direction", "limit", "nextToken"), answers=ListOf("versions", VersionAnswer)),
    _op("DeleteFunctionVersion", f"DELETE {_VERSIONS}/{{version}}", "Removes a version for good."),
    _op("CreateAlias", f"POST {_ALIASES}", "Creates an alias of a version.",
        takes=inputs_settings.AliasInput, needs=("aliasName", "versionId"), answers=shapes.AliasAnswer),
    _op("ListAliases", f"GET {_ALIASES}", "Aliases by name.",
        query=_PAGE, answers=ListOf("aliases", shapes.AliasAnswer)),
    _op("GetAlias", f"GET {_ALIASES}/{{alias}}", "An alias.", answers=shapes.AliasAnswer),
    _op("UpdateAlias", f"PUT {_ALIASES}/{{alias}}", "Moves an alias, or changes its weights.",
        takes=inputs_settings.AliasInput, answers=shapes.AliasAnswer),
    _op("DeleteAlias", f"DELETE {_ALIASES}/{{alias}}", "Removes an alias."),

    _op("CreateTrigger", f"POST {_TRIGGERS}", "Creates a trigger; its configuration is JSON text.",
        takes=inputs_settings.TriggerInput, needs=("triggerName", "triggerType", "triggerConfig"),
        answers=shapes.TriggerAnswer),
    _op("ListTriggers", f"GET {_TRIGGERS}", "Triggers by name.",
        query=_PAGE, answers=ListOf("triggers", shapes.TriggerAnswer)),
    _op("GetTrigger", f"GET {_TRIGGERS}/{{trigger}}", "A trigger.", answers=shapes.TriggerAnswer),
    _op("UpdateTrigger", f"PUT {_TRIGGERS}/{{trigger}}", "Updates the fields that are sent.",
        takes=inputs_settings.TriggerInput, answers=shapes.TriggerAnswer),
    _op("DeleteTrigger", f"DELETE {_TRIGGERS}/{{trigger}}", "Removes a trigger."),

    _op("PutAsyncInvokeConfig", f"PUT {_FUNCTION}/async-invoke-config", "Configures asynchronous calls.",
        query=_QUALIFIER, takes=inputs_settings.AsyncConfigInput, answers=shapes_settings.AsyncConfigAnswer),
    _op("GetAsyncInvokeConfig", f"GET {_FUNCTION}/async-invoke-config", "The configuration of asynchronous calls.",
        query=_QUALIFIER, answers=shapes_settings.AsyncConfigAnswer),
    _op("DeleteAsyncInvokeConfig", f"DELETE {_FUNCTION}/async-invoke-config", "Removes the configuration.",
        query=_QUALIFIER),
    _op("ListAsyncInvokeConfigs", "GET /async-invoke-configs", "The configurations of one function, or of all.",
        query=_OF_FUNCTION, answers=ListOf("configs", shapes_settings.AsyncConfigAnswer)),
    _op("GetAsyncTask", f"GET {_TASKS}/{{task}}", "An asynchronous invocation.",
        query=_QUALIFIER, answers=shapes_async.TaskAnswer),
    _op("ListAsyncTasks", f"GET {_TASKS}", "Asynchronous invocations, the newest first.",
        query=(
            *_PAGE, *_QUALIFIER, "status", "startedTimeBegin", "startedTimeEnd", "sortOrderByTime", "includePayload",
        ),
        answers=ListOf("tasks", shapes_async.TaskAnswer)),
    _op("StopAsyncTask", f"PUT {_TASKS}/{{task}}/stop",
        "Stops a task: a queued one never starts, a running one is killed.",
        query=_QUALIFIER),

    _op("PutConcurrencyConfig", f"PUT {_FUNCTION}/concurrency", "Limits the instances of a function.",
        takes=inputs_settings.ConcurrencyInput, needs=("reservedConcurrency",),
        answers=shapes_settings.ConcurrencyAnswer),
    _op("GetConcurrencyConfig", f"GET {_FUNCTION}/concurrency", "The bound.",
        answers=shapes_settings.ConcurrencyAnswer),
    _op("DeleteConcurrencyConfig", f"DELETE {_FUNCTION}/concurrency", "Removes the limit."),
    _op("ListConcurrencyConfigs", "GET /concurrency-configs", "The configurations of one function, or of all.",
        query=_OF_FUNCTION, answers=ListOf("configs", shapes_settings.ConcurrencyAnswer)),
    _op("PutProvisionConfig", f"PUT {_FUNCTION}/provision-config", "Sets how many instances are kept ready.",
        query=_QUALIFIER, takes=inputs_settings.ProvisionInput, answers=shapes_settings.ProvisionAnswer),
    _op("GetProvisionConfig", f"GET {_FUNCTION}/provision-config", "How many instances are kept ready.",
        query=_QUALIFIER, answers=shapes_settings.ProvisionAnswer),
    _op("DeleteProvisionConfig", f"DELETE {_FUNCTION}/provision-config", "Stops keeping instances ready.",
        query=_QUALIFIER),
    _op("ListProvisionConfigs", "GET /provision-configs", "The configurations of one function, or of all.",
        query=_OF_FUNCTION, answers=ListOf("provisionConfigs", shapes_settings.ProvisionAnswer)),
    _op("PutScalingConfig", f"PUT {_FUNCTION}/scaling-config", "Sets how many instances are ready at least, and when.",
        query=_QUALIFIER, takes=inputs_settings.ScalingInput, answers=shapes_settings.ScalingAnswer),
    _op("GetScalingConfig", f"GET {_FUNCTION}/scaling-config", "The scaling configuration.",
        query=_QUALIFIER, answers=shapes_settings.ScalingAnswer),
    _op("DeleteScalingConfig", f"DELETE {_FUNCTION}/scaling-config", "Removes the configuration.", query=_QUALIFIER),
    _op("ListScalingConfigs", "GET /scaling-configs", "The configurations of one function, or of all.",
        query=_OF_FUNCTION, answers=ListOf("scalingConfigs", shapes_settings.ScalingAnswer)),

    _op("CreateCustomDomain", f"POST {_DOMAINS}", "Routes the paths of a host name to functions.",
        takes=inputs_settings.CustomDomainInput, needs=("domainName",), answers=shapes_settings.DomainAnswer),
    _op("ListCustomDomains", f"GET {_DOMAINS}", "Domains by name.",
        query=_PAGE, answers=ListOf("customDomains", shapes_settings.DomainAnswer)),
    _op("GetCustomDomain", f"GET {_DOMAINS}/{{domain}}", "A domain.", answers=shapes_settings.DomainAnswer),
    _op("UpdateCustomDomain", f"PUT {_DOMAINS}/{{domain}}", "Updates the fields that are sent.",
        takes=inputs_settings.CustomDomainInput, answers=shapes_settings.DomainAnswer),
    _op("DeleteCustomDomain", f"DELETE {_DOMAINS}/{{domain}}", "Removes a domain."),

    _op("CreateLayerVersion", f"POST {_LAYER}/versions", "Publishes the next version of a layer.",
        takes=inputs_settings.LayerInput, needs=("code",), answers=shapes_settings.LayerAnswer),
    _op("ListLayerVersions", f"GET {_LAYER}/versions", "Versions by number.",
        query=("limit", "startVersion"),
        answers=ListOf("layers", shapes_settings.LayerAnswer, next_token="nextVersion")),
    _op("GetLayerVersion", f"GET {_LAYER}/versions/{{version}}", "A version.", answers=shapes_settings.LayerAnswer),
    _op("DeleteLayerVersion", f"DELETE {_LAYER}/versions/{{version}}", "Removes a version."),
    _op("ListLayers", "GET /layers", "The newest version of each layer.",
        query=(*_PAGE, "public", "official"), answers=ListOf("layers", shapes_settings.LayerAnswer)),
    _op("GetLayerVersionByArn", "GET /layerarn/{arn}", "A version by its escaped ARN.",
        answers=shapes_settings.LayerAnswer),
    _op("PutLayerACL", f"PUT {_LAYER}/acl", "Makes a layer public, or private again.", query=("acl", "public")),

    _op("TagResources", f"POST {_TAGS}", "Tags functions.",
        takes=inputs_settings.TagInput, needs=("ResourceId", "ResourceType", "Tag")),
    _op("UntagResources", f"DELETE {_TAGS}", "Removes tags.", query=("ResourceId", "ResourceType", "TagKey", "All"),
        needs=("ResourceId", "ResourceType")),
    _op("ListTagResources", f"GET {_TAGS}", "Tags of functions, one by one.",
        query=("Limit", "NextToken", "ResourceId", "ResourceType", "Tag"),
        answers=ListOf("TagResources", shapes_settings.TagResource, next_token="NextToken")),
    _op("ChangeResourceGroup", "PUT /resource-groups", "Moves a function to a resource group.",
        takes=inputs_settings.GroupInput, needs=("NewResourceGroupId", "ResourceId", "ResourceType"),
        answers=shapes_settings.GroupAnswer),
    _op("DescribeRegions", "GET /regions", "The only region served here.",
        query=("AcceptLanguage",), answers=shapes_settings.RegionsAnswer),

    _op("CreateVpcBinding", f"POST {_BINDINGS}", "Binds a function to a VPC; nothing is connected.",
        takes=inputs_settings.VpcBindingInput, needs=("vpcId",)),
    _op("DeleteVpcBinding", f"DELETE {_BINDINGS}/{{vpc}}", "Removes a binding."),
    _op("ListVpcBindings", f"GET {_BINDINGS}", "The VPCs that a function is bound to.", answers=VpcIds),
    _op("ListInstances", f"GET {_INSTANCES}", "The running instances of a function.",
        query=(
            "qualifier", "instanceIds", "instanceStatus", "startKey", "startTimeMs", "endTimeMs", "limit",
            "withAllActive",
        ),
        answers=ListOf("instances", shapes_settings.InstanceAnswer)),
    _op("InstanceExec", f"GET {_INSTANCES}/{{instance}}/exec", "A command in an instance, over a websocket.",
        query=("command", "stdin", "stdout", "stderr", "tty", "idleTimeout"), upgrades=True),

    _op("CreateSession", f"POST {_SESSIONS}", "Starts a session of a function with session affinity.",
        query=_QUALIFIER, takes=inputs_settings.SessionInput, answers=shapes_settings.SessionAnswer),
    _op("ListSessions", f"GET {_SESSIONS}", "Sessions by id.",
        query=("limit", "nextToken", "qualifier", "sessionId", "sessionStatus"),
        answers=ListOf("sessions", shapes_settings.SessionAnswer)),
    _op("GetSession", f"GET {_SESSION}", "A session.", query=_QUALIFIER, answers=shapes_settings.SessionAnswer),
    _op("UpdateSession", f"PUT {_SESSION}", "Updates the fields that are sent.",
        query=_QUALIFIER, takes=inputs_settings.SessionInput, answers=shapes_settings.SessionAnswer),
    _op("DeleteSession", f"DELETE {_SESSION}", "Ends a session.", query=_QUALIFIER),
    _op("PauseSession", f"PUT {_SESSION}/pause", "Marks a session as paused.",
        query=("fileSystemOnly", "qualifier"), answers=shapes_settings.SessionAnswer),
    _op("ResumeSession", f"PUT {_SESSION}/resume", "Marks a session as running.",
        query=("fileSystemOnly", "qualifier"), answers=shapes_settings.SessionAnswer),
    _op("CreateSnapshot", f"POST {_SNAPSHOTS}", "Records a request for a snapshot; none is made here.",
        query=_QUALIFIER, takes=inputs_settings.SnapshotInput, needs=("sessionId",),
        answers=shapes_settings.SnapshotAnswer),
    _op("GetSnapshot", f"GET {_SNAPSHOTS}/{{snapshot}}", "A requested snapshot.",
        answers=shapes_settings.SnapshotAnswer),
    _op("DeleteSnapshot", f"DELETE {_SNAPSHOTS}/{{snapshot}}", "Removes a snapshot."),
    _op("ListSnapshots", "GET /snapshots", "The requested snapshots.",
        query=("functionName", "limit", "nextToken", "qualifier", "sessionId"),
        answers=ListOf("snapshots", shapes_settings.SnapshotAnswer)),
)
# fmt: on
