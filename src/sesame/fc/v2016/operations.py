"""API 2016-08-15 in one table: every operation with its method, path, input and answer.

Read by `fc.app` to route, by `fc.auth.actions` to name actions, and by `fc.openapi` to describe the API. The files in
`fc/v2016/routes/` have a handler for each operation.
"""

from typing import Any

from sesame.fc.operations import OWN_PREFIX, ListOf, Operation, Table
from sesame.fc.replays import Findings, Replayed, Tried
from sesame.fc.services import inputs, shapes, shapes_account, shapes_async
from sesame.fc.services.shapes_account import Empty
from sesame.fc.shapes import CodeAnswer, VersionAnswer, VpcIds
from sesame.fc.v2016 import shapes_recordings, shapes_triggers
from sesame.model.recording import Recording, RecordingSummary

PREFIX = "/2016-08-15"
_PAGE = ("limit", "nextToken", "prefix", "startKey")
_SERVICE = "/services/{service}"
_FUNCTIONS = _SERVICE + "/functions"
_FUNCTION = _FUNCTIONS + "/{function}"
_TRIGGERS = _FUNCTION + "/triggers"
_VERSIONS = _SERVICE + "/versions"
_ALIASES = _SERVICE + "/aliases"
_STATEFUL = _FUNCTION + "/stateful-async-invocations"
_ASYNC = _FUNCTION + "/async-invocations"
_INSTANCES = _FUNCTION + "/instances"
_LAYER = "/layers/{layer}"
_DOMAINS = "/custom-domains"
_TAG = "/tag"


_TABLE, _OWN = Table(PREFIX), Table(OWN_PREFIX)
_op = _TABLE.op


def _own(name: str, where: str, summary: str, **rest: Any) -> Operation:
    return _OWN.op(name, where, summary, own=True, **rest)


_IF_MATCH = ("If-Match",)
_INVOCATIONS = (
    "limit", "nextToken", "status", "startedTimeBegin", "startedTimeEnd", "sortOrderByTime", "invocationIdPrefix",
    "includePayload",
)  # fmt: skip
_INVOKE_HEADERS = (
    "X-Fc-Invocation-Type", "X-Fc-Log-Type", "X-Fc-Trace-Id", "X-Fc-Async-Delay", "X-Fc-Stateful-Async-Invocation-Id",
    "X-Fc-Stateful-Async-Invocation-Enable",
)  # fmt: skip

# fmt: off
OPERATIONS: tuple[Operation, ...] = (
    _op("CreateService", "POST /services", "Creates a service.",
        takes=inputs.ServiceInput, needs=("serviceName",), answers=shapes.ServiceAnswer),
    _op("ListServices", "GET /services", "Services by name; `tag_<key>=<value>` filters.",
        query=_PAGE, answers=ListOf("services", shapes.ServiceAnswer)),
    _op("GetService", f"GET {_SERVICE}", "A service, or a version of it.", answers=shapes.ServiceAnswer),
    _op("UpdateService", f"PUT {_SERVICE}", "Updates the fields that are sent.",
        takes=inputs.ServiceInput, headers=_IF_MATCH, answers=shapes.ServiceAnswer),
    _op("DeleteService", f"DELETE {_SERVICE}", "Removes an empty service.", headers=_IF_MATCH),

    _op("CreateFunction", f"POST {_FUNCTIONS}", "Creates a function.",
        takes=inputs.FunctionInput, needs=("functionName", "runtime", "handler", "code"),
        headers=("X-Fc-Code-Checksum",), answers=shapes.FunctionAnswer),
    _op("ListFunctions", f"GET {_FUNCTIONS}", "Functions by name.",
        query=_PAGE, answers=ListOf("functions", shapes.FunctionAnswer)),
    _op("GetFunction", f"GET {_FUNCTION}", "A function, without its code.", answers=shapes.FunctionAnswer),
    _op("UpdateFunction", f"PUT {_FUNCTION}", "Updates the fields that are sent.",
        takes=inputs.FunctionInput, headers=("If-Match", "X-Fc-Code-Checksum"), answers=shapes.FunctionAnswer),
    _op("DeleteFunction", f"DELETE {_FUNCTION}", "Removes a function without triggers.", headers=_IF_MATCH),
    _op("GetFunctionCode", f"GET {_FUNCTION}/code", "A link to the code.", answers=CodeAnswer),
    _op("InvokeFunction", f"POST {_FUNCTION}/invocations", "Calls a function with the body as its event.",
        headers=_INVOKE_HEADERS, answers=bytes),

    _op("PublishVersion", f"POST {_VERSIONS}", "Freezes the service and its functions under the next number.",
        takes=inputs.PublishInput, headers=_IF_MATCH, answers=VersionAnswer),
    _op("ListVersions", f"GET {_VERSIONS}", "Versions, newest first unless `direction` is FORWARD.",
        query=("limit", "nextToken", "startKey", "direction"), answers=ListOf("versions", VersionAnswer)),
    _op("DeleteVersion", f"DELETE {_VERSIONS}/{{version}}", "Removes a version; its number is not given again."),
    _op("CreateAlias", f"POST {_ALIASES}", "Creates an alias of a version.",
        takes=inputs.AliasInput, needs=("aliasName", "versionId"), answers=shapes.AliasAnswer),
    _op("ListAliases", f"GET {_ALIASES}", "Aliases by name.",
        query=_PAGE, answers=ListOf("aliases", shapes.AliasAnswer)),
    _op("GetAlias", f"GET {_ALIASES}/{{alias}}", "An alias.", answers=shapes.AliasAnswer),
    _op("UpdateAlias", f"PUT {_ALIASES}/{{alias}}", "Moves an alias, or changes its weights.",
        takes=inputs.AliasInput, headers=_IF_MATCH, answers=shapes.AliasAnswer),
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
        takes=inputs.AsyncConfigInput, answers=shapes_account.AsyncConfigAnswer),
    _op("GetFunctionAsyncInvokeConfig", f"GET {_FUNCTION}/async-invoke-config",
        "The configuration of asynchronous calls.",
        answers=shapes_account.AsyncConfigAnswer),
    _op("DeleteFunctionAsyncInvokeConfig", f"DELETE {_FUNCTION}/async-invoke-config", "Removes the configuration."),
    _op("ListFunctionAsyncInvokeConfigs", f"GET {_FUNCTION}/async-invoke-configs", "Those of all qualifiers.",
        query=("limit", "nextToken"), answers=ListOf("configs", shapes_account.AsyncConfigAnswer, or_null=True)),
    _op("GetStatefulAsyncInvocation", f"GET {_STATEFUL}/{{invocation}}", "A stateful asynchronous invocation.",
        answers=shapes_async.StatefulInvocationAnswer),
    _op("StopStatefulAsyncInvocation", f"PUT {_STATEFUL}/{{invocation}}",
        "Stops an invocation: a queued one never starts, a running one is killed with its instance."),
    _op("ListStatefulAsyncInvocations", f"GET {_STATEFUL}", "Stateful invocations of a function, the newest first.",
        query=_INVOCATIONS, answers=ListOf("invocations", shapes_async.StatefulInvocationAnswer, or_null=True)),
    _op("ListStatefulAsyncInvocationFunctions", "GET /stateful-async-invocation-functions",
        "Functions that have stateful invocations, or are configured to.",
        query=("limit", "nextToken"), answers=ListOf("data", shapes_async.FunctionWithInvocations)),

    _op("PutProvisionConfig", f"PUT {_FUNCTION}/provision-config", "Sets how many instances are kept ready.",
        takes=inputs.ProvisionInput, needs=("target",), headers=_IF_MATCH, answers=shapes_account.ProvisionAnswer),
    _op("GetProvisionConfig", f"GET {_FUNCTION}/provision-config", "How many instances are kept ready.",
        answers=shapes_account.ProvisionAnswer),
    _op("ListProvisionConfigs", "GET /provision-configs", "The configurations of one service, or of all.",
        query=("serviceName", "qualifier", "limit", "nextToken"),
        answers=ListOf("provisionConfigs", shapes_account.ProvisionAnswer)),
    _op("PutFunctionOnDemandConfig", f"PUT {_FUNCTION}/on-demand-config", "Limits the number of instances.",
        takes=inputs.OnDemandInput, needs=("maximumInstanceCount",), headers=_IF_MATCH,
        answers=shapes_account.OnDemandAnswer),
    _op("GetFunctionOnDemandConfig", f"GET {_FUNCTION}/on-demand-config", "The bound.",
        answers=shapes_account.OnDemandAnswer),
    _op("DeleteFunctionOnDemandConfig", f"DELETE {_FUNCTION}/on-demand-config", "Removes the limit.",
        headers=_IF_MATCH),
    _op("ListOnDemandConfigs", "GET /on-demand-configs", "All limits, by resource.",
        query=_PAGE, answers=ListOf("configs", shapes_account.OnDemandAnswer, or_null=True)),

    _op("CreateCustomDomain", f"POST {_DOMAINS}", "Routes the paths of a host name to functions.",
        takes=inputs.CustomDomainInput, needs=("domainName",), answers=shapes_account.DomainAnswer),
    _op("ListCustomDomains", f"GET {_DOMAINS}", "Domains by name.",
        query=_PAGE, answers=ListOf("customDomains", shapes_account.DomainAnswer)),
    _op("GetCustomDomain", f"GET {_DOMAINS}/{{domain}}", "A domain.", answers=shapes_account.DomainAnswer),
    _op("UpdateCustomDomain", f"PUT {_DOMAINS}/{{domain}}", "Updates the fields that are sent.",
        takes=inputs.CustomDomainInput, headers=_IF_MATCH, answers=shapes_account.DomainAnswer),
    _op("DeleteCustomDomain", f"DELETE {_DOMAINS}/{{domain}}", "Removes a domain.", headers=_IF_MATCH),

    _op("CreateLayerVersion", f"POST {_LAYER}/versions", "Publishes the next version of a layer.",
        takes=inputs.LayerInput, needs=("code",), answers=shapes_account.LayerAnswer),
    _op("ListLayerVersions", f"GET {_LAYER}/versions", "Versions by number.",
        query=("limit", "startVersion"),
        answers=ListOf("layers", shapes_account.LayerAnswer, next_token="nextVersion")),
    _op("GetLayerVersion", f"GET {_LAYER}/versions/{{version}}", "A version.", answers=shapes_account.LayerAnswer),
    _op("DeleteLayerVersion", f"DELETE {_LAYER}/versions/{{version}}", "Removes a version."),
    _op("ListLayers", "GET /layers", "The newest version of each layer.",
        query=(*_PAGE, "public", "official"), answers=ListOf("layers", shapes_account.LayerAnswer)),
    _op("GetLayerVersionByArn", "GET /layerarn/{arn}", "A version by its escaped ARN.",
        answers=shapes_account.LayerAnswer),
    _op("PutLayerACL", f"PUT {_LAYER}/acl", "Makes a layer public, or private again.",
        query=("public",), answers=Empty),

    _op("TagResource", f"POST {_TAG}", "Tags a service.",
        takes=inputs.TagInput, needs=("resourceArn", "tags"), answers=shapes_account.RequestAnswer),
    _op("UntagResource", f"DELETE {_TAG}", "Removes tags.",
        takes=inputs.UntagInput, needs=("resourceArn",), answers=shapes_account.RequestAnswer),
    _op("GetResourceTags", f"GET {_TAG}", "A service's tags.",
        query=("resourceArn",), needs=("resourceArn",), answers=shapes_account.TagsAnswer),
    _op("ListTaggedResources", "GET /tags", "Every service that has tags.",
        query=("limit", "nextToken"), answers=ListOf("resources", shapes_account.TaggedResource)),

    _op("CreateVpcBinding", f"POST {_SERVICE}/binding", "Binds a service to a VPC; nothing is connected.",
        takes=inputs.VpcBindingInput, needs=("vpcId",), answers=Empty),
    _op("DeleteVpcBinding", f"DELETE {_SERVICE}/binding", "Removes a binding.",
        takes=inputs.VpcBindingInput, needs=("vpcId",), answers=Empty),
    _op("ListVpcBindings", f"GET {_SERVICE}/bindings", "The VPCs that a service is bound to.", answers=VpcIds),
    _op("ListInstances", f"GET {_INSTANCES}", "The running instances of a function.",
        query=("limit", "nextToken", "instanceIds"), answers=ListOf("instances", shapes_account.InstanceAnswer)),
    _op("InstanceExec", f"GET {_INSTANCES}/{{instance}}/exec", "A command in an instance, over a websocket.",
        query=("command", "stdin", "stdout", "stderr", "tty", "idleTimeout"), upgrades=True),

    _op("ListReservedCapacities", "GET /reservedCapacities", "Always empty: nothing can be reserved here.",
        query=("limit", "nextToken"), answers=ListOf("reservedCapacities", shapes_account.ReservedCapacity)),
    _op("GetAccountSettings", "GET /account-settings", "The account's zones and role.",
        answers=shapes_account.AccountSettingsAnswer),
    _op("GetAccountConfigs", "GET /accountConfigs", "The account's limits, as text.",
        query=("config",), answers=dict[str, str]),
    _op("GetTempBucketToken", "GET /tempBucketToken", "A location for code, and credentials to upload it.",
        answers=shapes_account.BucketTokenAnswer),
    _op("GetTempCodeBucketToken", f"GET {_SERVICE}/tempCodeBucketToken", "The same for one service.",
        query=("functionName", "instanceType"), answers=shapes_account.BucketTokenAnswer),

    _own("ListAllTriggers", "GET /triggers", "The triggers of all functions, and why some of them do not fire.",
        query=("limit", "nextToken"), answers=ListOf("triggers", shapes_triggers.TriggerOverview)),
    _own("FireTrigger", f"POST {_TRIGGERS}/{{trigger}}/fire", "Calls a trigger's function as its event would.",
        query=("sample",), answers=shapes_triggers.Fired),
    _own("ListAsyncInvocations", "GET /async-invocations", "Asynchronous invocations of all functions, or of one.",
        query=("service", "function", *_INVOCATIONS), answers=ListOf("invocations", shapes_async.OwnInvocationAnswer)),
    _own("GetAsyncInvocation", f"GET {_ASYNC}/{{invocation}}", "An asynchronous invocation, stateful or not.",
        answers=shapes_async.OwnInvocationAnswer),
    _own("StopAsyncInvocation", f"PUT {_ASYNC}/{{invocation}}", "Stops it as StopStatefulAsyncInvocation does."),
    _own("ReplayAsyncInvocation", f"POST {_ASYNC}/{{invocation}}/replay",
        "Queues the event of an ended invocation once more.", answers=shapes_async.Replayed),
    _own("ListAsyncDestinations", "GET /async-destinations", "Destinations, and why some of them get no records.",
        query=("limit", "nextToken"), answers=ListOf("destinations", shapes_async.DestinationAnswer)),
    _own("ListDeadLetters", "GET /dead-letters", "Records that could not be delivered to their destination.",
        query=("limit", "nextToken"), answers=ListOf("deadLetters", shapes_async.DeadLetterAnswer)),
    _own("GetDeadLetter", "GET /dead-letters/{letter}", "A dead letter.", answers=shapes_async.DeadLetterAnswer),
    _own("ListRecordings", "GET /recordings", "Recorded calls, the newest first.",
        query=("service", "function", "limit", "nextToken"), answers=ListOf("recordings", RecordingSummary)),
    _own("DeleteRecordings", "DELETE /recordings", "Deletes recordings: all, a service's or a function's.",
        query=("service", "function"), answers=shapes_recordings.Deleted),
    _own("GetRecording", "GET /recordings/{request}", "The recorded call of a request.", answers=Recording),
    _own("ReplayRecording", "POST /recordings/{request}/replay", "Runs a recorded call again, in a sandbox of its own.",
        takes=inputs.ReplayInput, answers=Replayed),
    _own("PutRecordingConfig", f"PUT {_FUNCTION}/recording", "Sets which calls of a function are recorded.",
        takes=inputs.RecordingConfigInput, answers=shapes_recordings.RecordingConfigAnswer),
    _own("GetRecordingConfig", f"GET {_FUNCTION}/recording", "Which calls of a function are recorded.",
        answers=shapes_recordings.RecordingConfigAnswer),
    _own("TryFunction", f"POST {_FUNCTION}/trial", "Calls a function under another runtime, in a sandbox of its own.",
        query=("runtime",), answers=Tried),
    _own("CheckFunctionSources", f"POST {_FUNCTION}/source-check", "Checks the sources with a runtime's interpreter.",
        query=("runtime",), answers=Findings),
    _own("ReplayDeadLetter", "POST /dead-letters/{letter}/replay",
        "Delivers a dead letter again, with all its attempts."),
)
# fmt: on
