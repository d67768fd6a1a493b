"""Which entity tags a conditional header names (RFC 9110 §8.8.3, §13.1).

Used by `control.checks` for If-Match and by `oss.conditions`. Pure.
"""

import re

# Perhaps weak; quoted, or bare, as clients of the cloud send the tags of its answers.
_TAG = re.compile(r'(W/)?(?:"([^"]*)"|([^\s",]+))')


def names(header: str, etag: str, *, weakly: bool = False) -> bool:
    """Whether `header`, `*` or a list of tags, names the resource that has this tag.

    A weak tag (`W/"…"`) counts only `weakly`, as for If-None-Match: If-Match compares strongly.
    """
    if header.strip() == "*":
        return True
    found = ((quoted or bare, mark == "") for mark, quoted, bare in _TAG.findall(header))
    return any(tag == etag and (strong or weakly) for tag, strong in found)
