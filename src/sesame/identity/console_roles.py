"""The roles that the cloud's consoles create for Function Compute and for the sources of its triggers.

Created by `identity.roles` for every account, so that templates which refer to them work (reference/companions.md
§2.4).
"""

import msgspec

from sesame.identity.policy.evaluator import trust_of_service

FUNCTION_COMPUTE = "fc.aliyuncs.com"
DEFAULT_ROLE = "AliyunFCDefaultRole"


class ConsoleRole(msgspec.Struct, frozen=True):
    """`service` may assume it; `policies` are system policies."""

    role_name: str
    service: str
    policies: tuple[str, ...]
    description: str

    @property
    def trust_policy(self) -> str:
        return trust_of_service(self.service)


def _notifying(role_name: str, service: str, what: str) -> ConsoleRole:
    return ConsoleRole(role_name, service, (f"{role_name}Policy",), f"{what} calls functions in this role")


CONSOLE_ROLES: tuple[ConsoleRole, ...] = (
    ConsoleRole(
        DEFAULT_ROLE,
        FUNCTION_COMPUTE,
        ("AliyunFCDefaultRolePolicy",),
        "May use OSS and Log Service, and call functions",
    ),
    ConsoleRole(
        "AliyunFCLogExecutionRole",
        FUNCTION_COMPUTE,
        ("AliyunFCLogExecutionRolePolicy",),
        "Function Compute writes logs in this role",
    ),
    ConsoleRole(
        "AliyunServiceRoleForFC",
        FUNCTION_COMPUTE,
        ("AliyunServiceRolePolicyForFC",),
        "Function Compute reaches other services in this role",
    ),
    _notifying("AliyunOSSEventNotificationRole", "oss.aliyuncs.com", "OSS"),
    _notifying("AliyunLogETLRole", "log.aliyuncs.com", "Log Service"),
    _notifying("AliyunCDNEventNotificationRole", "cdn.aliyuncs.com", "CDN"),
    _notifying("AliyunMNSNotificationRole", "mns.aliyuncs.com", "Message Service"),
    _notifying("AliyunTableStoreStreamNotificationRole", "ots.aliyuncs.com", "Tablestore"),
)
