"""A signer of ACS3-HMAC-SHA256 of our own: what the official SDKs cannot send, and only the headers that are named.

Written from reference/api.md §1.2 alone: it shares no code with what it is tested against.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

# As the SDK for Node.js signs: what begins with x-fc- is sent unsigned.
SIGNED = ("host", "content-type", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-version")


def signed(
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    keys: tuple[str, str],
    at: float,
    names: Sequence[str] = SIGNED,
) -> dict[str, str]:
    """`headers` with those of the signature; `path` as it is sent, with its query."""
    sent = {
        "host": "127.0.0.1:9000",
        "x-acs-date": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
        **{name.lower(): value for name, value in headers.items()},
    }
    raw_path, _mark, query = path.partition("?")
    items = "&".join(f"{name}={quote(value, safe='~')}" for name, value in sorted(parse_qsl(query, True)))
    signed_names = sorted(name for name in names if name in sent)
    canonical = "\n".join((method, raw_path, items))
    canonical += "\n" + "".join(f"{name}:{sent[name].strip()}\n" for name in signed_names)
    canonical += "\n" + ";".join(signed_names) + "\n" + sent["x-acs-content-sha256"]
    text = "ACS3-HMAC-SHA256\n" + hashlib.sha256(canonical.encode()).hexdigest()
    made = hmac.new(keys[1].encode(), text.encode(), hashlib.sha256).hexdigest()
    credential = f"Credential={keys[0]},SignedHeaders={';'.join(signed_names)},Signature={made}"
    return {**sent, "authorization": f"ACS3-HMAC-SHA256 {credential}"}
