"""Which actions are one thing under several names, as API versions call some operations differently.

Used by `fc.auth.permissions`: what a policy denies under one name must not be had under another.
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
)

OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    f"fc:{name}": tuple(f"fc:{other}" for other in names if other != name) for names in _SAME for name in names
}
