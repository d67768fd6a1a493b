"""The condition keys that requests bring here (reference/companions.md §3.2).

Read by `identity.facts`, which fills them, and by `identity.policy.evaluator`, which refuses policies that ask for
others: a Deny on a key that nothing fills would never take effect.
"""

_KEYS = frozenset(
    {
        "acs:accessid", "acs:currenttime", "acs:mfapresent", "acs:securetransport", "acs:service", "acs:sourceip",
        "acs:useragent", "fc:enableserviceinternetaccess", "oss:delimiter", "oss:prefix", "ram:servicename",
        "sts:externalid", "sts:sourceidentity",
        # No request comes out of a VPC here: as in the cloud, the key is then missing.
        "acs:sourcevpc",
    }
)  # fmt: skip
_TAG_KEYS = ("acs:resourcetag/", "oss:buckettag/", "oss:existingobjecttag/", "oss:requestobjecttag/")
# The services that Sesame serves. Keys of others belong to actions that are never asked for here.
_SERVED = ("acs:", "fc:", "oss:", "ram:", "sts:")
_SPELLED = (
    "acs:AccessId, acs:CurrentTime, acs:MFAPresent, acs:ResourceTag/<key>, acs:SecureTransport, acs:Service, "
    "acs:SourceIp, acs:SourceVpc, acs:UserAgent, fc:EnableServiceInternetAccess, oss:BucketTag/<key>, oss:Delimiter, "
    "oss:ExistingObjectTag/<key>, oss:Prefix, oss:RequestObjectTag/<key>, ram:ServiceName, sts:ExternalId, "
    "sts:SourceIdentity"
)


def normal(key: str) -> str:
    """The key as it is compared: its case does not count, but that of a tag's name behind the slash does."""
    head, slash, tag = key.partition("/")
    return head.lower() + slash + tag


def is_known(key: str) -> bool:
    """Whether requests bring this (normal) key, or it is one of a service that is not served here."""
    if not key.startswith(_SERVED):
        return True
    return key in _KEYS or any(key.startswith(tags) and key != tags for tags in _TAG_KEYS)


def refusal(key: str) -> str:
    """The words for a policy that asks for an unknown key."""
    return f"unknown condition key {key!r} (known: {_SPELLED})"
