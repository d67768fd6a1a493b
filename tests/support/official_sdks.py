"""Requests that no SDK sends by itself, signed by the SDKs' own code.

The only file of the tests that uses private parts of other people's libraries; a new version of one is met here.
"""

from typing import Any

import fc2
import oss2


def sign_by_oss2(auth: Any, call: "oss2.http.Request", bucket: str, key: str) -> None:
    """Adds to `call` the headers that oss2 would send with it."""
    auth._sign_request(call, bucket, key)


def presigned_by_oss2(auth: Any, call: "oss2.http.Request", bucket: str, key: str, expires_s: int) -> str:
    """The presigned URL of `call`."""
    return str(auth._sign_url(call, bucket, key, expires_s))


def key_of_sts(auth: "oss2.StsAuth") -> Any:
    """The temporary key that the auth object signs with: `access_key_id`, `access_key_secret`, `security_token`."""
    return auth._StsAuth__auth.credentials_provider.get_credentials()


def v1_signature_by_oss2(auth: "oss2.ProviderAuth", call: "oss2.http.Request") -> str:
    """Signature V1 of a request for the list of buckets."""
    return str(auth._ProviderAuth__make_signature(call, "", "", auth.credentials_provider.get_credentials()))


def do_by_oss2(bucket: "oss2.Bucket", method: str, key: str) -> Any:
    """Sends a plain request for an object with a method that oss2 itself never uses."""
    return bucket._do(method, bucket.bucket_name, key)


def headers_by_fc2(client: "fc2.Client", method: str, path: str) -> dict[str, str]:
    """The signed headers of a request without a body."""
    return dict(client._build_common_headers(method, path))


def ask_by_fc2(client: "fc2.Client", method: str, path: str) -> Any:
    """Sends a request without a body for which fc2 has no function; `path` begins with the API's version."""
    return client._do_request(method, path, headers_by_fc2(client, method, path))
