"""The condition keys that are supported here (reference/companions.md §3.2).

Read by `identity.facts`, which sets them, and by `identity.policy.evaluator`, which rejects policies that test others:
a Deny on a key that is never set would never take effect.
"""

_KEYS = frozenset(
    {
        "acs:accessid", "acs:currenttime", "acs:mfapresent", "acs:securetransport", "acs:service", "acs:sourceip",
        "acs:useragent", "fc:enableserviceinternetaccess", "oss:delimiter", "oss:prefix", "ram:servicename",
        "sts:externalid", "sts:sourceidentity",
        # No request comes from a VPC here, so this key is always missing, as in the cloud.
        "acs:sourcevpc",
    }
)  # fmt: skip
_TAG_KEYS = ("acs:resourcetag/", "oss:buckettag/", "oss:existingobjecttag/", "oss:requestobjecttag/")
# The services that Sesame implements. Keys of others belong to actions that are never checked here.
_SERVED = ("acs:", "fc:", "oss:", "ram:", "sts:")
_SPELLED = (
    "acs:AccessId, acs:CurrentTime, acs:MFAPresent, acs:ResourceTag/<key>, acs:SecureTransport, acs:Service, "
    "acs:SourceIp, acs:SourceVpc, acs:UserAgent, fc:EnableServiceInternetAccess, oss:BucketTag/<key>, oss:Delimiter, "
    "oss:ExistingObjectTag/<key>, oss:Prefix, oss:RequestObjectTag/<key>, ram:ServiceName, sts:ExternalId, "
    "sts:SourceIdentity"
)


def normal(key: str) -> str:
    """The key in the form in which it is compared: in lower case, except for a tag's name after the slash."""
    head, slash, tag = key.partition("/")
    return head.lower() + slash + tag


def is_known(key: str) -> bool:
    """Whether this (normal) key is supported, or belongs to a service that is not implemented here."""
    if not key.startswith(_SERVED):
        return True
    return key in _KEYS or any(key.startswith(tags) and key != tags for tags in _TAG_KEYS)


def refusal(key: str) -> str:
    """The error for a policy that tests an unknown key."""
    return f"unknown condition key {key!r} (known: {_SPELLED})"
