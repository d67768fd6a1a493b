"""Maps the cloud's host names, in any region, to Sesame's endpoints.

Used by the resolver and by the servers on ports 80 and 443 in the instances' networks.
"""

import re

OSS, FC, SLS, STS = "oss", "fc", "sls", "sts"

_REGION = r"[a-z0-9][a-z0-9-]{0,62}"
_LABEL = r"[a-z0-9][a-z0-9_-]{0,62}"
# As the SDKs build them: a bucket or project may precede the endpoint's own name.
_NAMES = (
    (OSS, re.compile(rf"(?:{_LABEL}\.)?(?:oss(?:-{_REGION})?|{_REGION}\.oss)\.aliyuncs\.com\Z")),
    (FC, re.compile(rf"(?:\d{{1,32}}\.{_REGION}\.fc|(?:fc|fcv3)\.{_REGION})\.aliyuncs\.com\Z")),
    (STS, re.compile(rf"sts(?:-vpc)?(?:\.{_REGION})?\.aliyuncs\.com\Z")),
    (SLS, re.compile(rf"(?:{_LABEL}\.)?{_REGION}\.(?:log|sls)\.aliyuncs\.com\Z")),
)
_NAME_CHARS_MAX = 253


def product_of(name: str) -> str:
    """OSS, FC, SLS or STS for a lower-case name without a final dot; "" for any other name."""
    if len(name) <= _NAME_CHARS_MAX:
        for product, pattern in _NAMES:
            if pattern.match(name):
                return product
    return ""


def wildcards(region: str) -> tuple[str, ...]:
    """The names of one certificate for clients that send no server name in the handshake, such as the copy of urllib3
    in `aliyunsdkcore` under Python 3.12: all names of one region, and those without a region.
    """
    below = ("", f"{region}.", f"oss-{region}.", f"oss-{region}-internal.", f"{region}.fc.", f"{region}-internal.fc.")
    logs = ("log.", f"{region}.log.", f"{region}-intranet.log.", "sls.", f"{region}.sls.")
    return tuple(f"*.{each}aliyuncs.com" for each in (*below, *logs))
