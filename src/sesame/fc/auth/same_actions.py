"""Actions that are the same under several names, because API versions name some operations differently.

Used by `fc.auth.permissions`, and through it by `identity.authorization.Requester`: what a policy denies under one name
must not be available under another.
"""

from collections.abc import Mapping

_SAME = (
    ("PublishVersion", "PublishServiceVersion", "PublishFunctionVersion"),
    ("ListVersions", "ListServiceVersions", "ListFunctionVersions"),
    ("DeleteVersion", "DeleteServiceVersion", "DeleteFunctionVersion"),
    ("PutFunctionAsyncInvokeConfig", "PutAsyncInvokeConfig"),
    ("GetFunctionAsyncInvokeConfig", "GetAsyncInvokeConfig"),
    ("DeleteFunctionAsyncInvokeConfig", "DeleteAsyncInvokeConfig"),
    ("ListFunctionAsyncInvokeConfigs", "ListAsyncInvokeConfigs"),
    ("GetStatefulAsyncInvocation", "GetAsyncTask", "GetAsyncInvocation"),
    ("ListStatefulAsyncInvocations", "ListAsyncTasks", "ListAsyncInvocations"),
    ("StopStatefulAsyncInvocation", "StopAsyncTask", "StopAsyncInvocation"),
    ("TagResource", "TagResources"),
    ("UntagResource", "UntagResources"),
)
# Operations of one version that are part of a more general operation in the others.
_PART_OF = {"DeleteProvisionConfig": "PutProvisionConfig"}

OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    **{f"fc:{name}": tuple(f"fc:{other}" for other in names if other != name) for names in _SAME for name in names},
    **{f"fc:{name}": (f"fc:{general}",) for name, general in _PART_OF.items()},
}
