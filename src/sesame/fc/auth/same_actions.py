"""Which actions are one thing under several names, as API versions call some operations differently.

Used by `fc.auth.permissions`, and through it by `identity.authorization.Requester`: what a policy denies under one name
must not be had under another.
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
# What is an operation of its own in one version, and done by a more general one in the others.
_PART_OF = {"DeleteProvisionConfig": "PutProvisionConfig"}

OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    **{f"fc:{name}": tuple(f"fc:{other}" for other in names if other != name) for names in _SAME for name in names},
    **{f"fc:{name}": (f"fc:{general}",) for name, general in _PART_OF.items()},
}
