"""The built-in policies of every account, with the cloud's names (reference/companions.md §2.4, §3.4).

Read by `identity.roles` for the roles to which one of them is attached. Custom policies are in the catalog.
"""

import msgspec


def _statement(*actions: str, resources: tuple[str, ...] = ("*",)) -> dict[str, object]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}


def _policy(*statements: dict[str, object]) -> str:
    return msgspec.json.encode({"Version": "1", "Statement": list(statements)}).decode()


def _allowing(*actions: str) -> str:
    return _policy(_statement(*actions))


_LOG_PROJECTS = ("acs:log:*:*:project/aliyun-fc-*", "acs:log:*:*:project/*/logstore/function-log*")

SYSTEM_POLICIES: dict[str, str] = {
    "AdministratorAccess": _allowing("*"),
    "AliyunFCFullAccess": _allowing("fc:*"),
    "AliyunFCInvocationAccess": _allowing("fc:InvokeFunction"),
    "AliyunFCReadOnlyAccess": _allowing("fc:Get*", "fc:List*"),
    "AliyunLogFullAccess": _allowing("log:*"),
    "AliyunLogReadOnlyAccess": _allowing("log:Get*", "log:List*"),
    "AliyunOSSFullAccess": _allowing("oss:*"),
    "AliyunOSSReadOnlyAccess": _allowing("oss:Get*", "oss:List*"),
    "AliyunSTSAssumeRoleAccess": _allowing("sts:AssumeRole"),
    # For the console's roles. The first is the functions' role: services used here, and destinations.
    "AliyunFCDefaultRolePolicy": _allowing(
        "oss:*", "log:*", "fc:InvokeFunction", "mns:SendMessage", "mns:PublishMessage", "eventbridge:PutEvents"
    ),
    "AliyunFCLogExecutionRolePolicy": _allowing("log:PostLogStoreLogs"),
    "AliyunServiceRolePolicyForFC": _policy(
        _statement(
            "vpc:Describe*",
            "ecs:CreateNetworkInterface",
            "ecs:DeleteNetworkInterface",
            "ecs:DescribeNetworkInterfaces",
            "ecs:CreateNetworkInterfacePermission",
            "ecs:DescribeNetworkInterfacePermissions",
            "ecs:DeleteNetworkInterfacePermission",
            "cr:Get*",
            "cr:PullRepository",
            "fc:InvokeFunction",
            "eventbridge:PutEvents",
            "log:PostLogStoreLogs",
            "ram:GetRole",
        ),
        _statement(
            "log:CreateProject",
            "log:CreateLogStore",
            "log:GetProject",
            "log:GetLogStore",
            "log:DeleteProject",
            "log:DeleteLogStore",
            "log:GetLogStoreLogs",
            resources=_LOG_PROJECTS,
        ),
    ),
    "AliyunOSSEventNotificationRolePolicy": _allowing("fc:InvokeFunction"),
    "AliyunLogETLRolePolicy": _allowing("fc:InvokeFunction", "log:GetCursorOrData", "log:ListShards"),
    "AliyunCDNEventNotificationRolePolicy": _allowing("fc:InvokeFunction"),
    "AliyunMNSNotificationRolePolicy": _allowing("fc:InvokeFunction"),
    "AliyunTableStoreStreamNotificationRolePolicy": _allowing(
        "fc:InvokeFunction", "ots:BatchGet*", "ots:Describe*", "ots:Get*", "ots:List*"
    ),
}
