"""The policies that every account has from the start, under the cloud's own names (reference/companions.md §3.4).

Read by `identity.roles` when a role has one of them attached, and by the RAM door to list them.
Never changed by anyone: custom policies live in the catalog.
"""

import msgspec


def _allowing(*actions: str) -> str:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    return msgspec.json.encode({"Version": "1", "Statement": [statement]}).decode()


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
}
