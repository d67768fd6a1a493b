"""Where a remote store of objects is: the parsed URL of the setting `objects`.

Used by `settings_checks`, and by every component that opens the store. Connects to nothing.
"""

import os
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

import msgspec

from sesame.model.errors import ConfigurationError

EXPECTED = "expected s3://BUCKET/PREFIX, with ?endpoint=URL&region=REGION where it is not Amazon's"
# The parameters allowed after `?`, each with the environment variables that provide it otherwise.
ITEMS = {
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "access_key_id": ("AWS_ACCESS_KEY_ID",),
    "secret_access_key": ("AWS_SECRET_ACCESS_KEY",),
    "session_token": ("AWS_SESSION_TOKEN",),
    "virtual_hosted_style_request": ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST",),
}
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_PREFIX_PART = re.compile(r"[A-Za-z0-9_=@-][A-Za-z0-9._=@-]*\Z")


class Location(msgspec.Struct, frozen=True):
    """`items` are the known ones of `ITEMS`, including keys. `shown` is for messages, without keys."""

    bucket: str
    prefix: str
    items: dict[str, str]

    @property
    def shown(self) -> str:
        return f"s3://{self.bucket}{f'/{self.prefix}' if self.prefix else ''}"


def parse_location(url: str, environ: Mapping[str, str] = os.environ) -> Location:
    """Raises `ConfigurationError`, whose text omits the URL because it may contain a key."""
    try:
        parts = urlsplit(url)
        said = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise ConfigurationError(f"objects is no URL: {error}; {EXPECTED}") from error
    prefix = parts.path.strip("/")
    if parts.scheme != "s3" or not _BUCKET.match(parts.netloc) or parts.fragment:
        raise ConfigurationError(f"objects is no URL of a bucket; {EXPECTED}")
    if prefix and not all(_PREFIX_PART.match(part) for part in prefix.split("/")):
        raise ConfigurationError(
            f"objects names the prefix '{prefix}'; expected names of letters, digits and ._=@- between single slashes"
        )
    if unknown := sorted(said.keys() - ITEMS.keys()):
        raise ConfigurationError(f"objects says {unknown[0]}; expected {', '.join(ITEMS)}")
    items = {name: next(filter(None, map(environ.get, variables)), "") for name, variables in ITEMS.items()}
    # A key in the URL must not be combined with a token from the environment.
    if "access_key_id" in said:
        items["session_token"] = ""
    items |= said
    endpoint = items["endpoint"]
    if endpoint and not (endpoint.startswith(("http://", "https://")) and urlsplit(endpoint).hostname):
        raise ConfigurationError("the endpoint of objects is no URL; expected http://HOST:PORT or https://HOST:PORT")
    if bool(items["access_key_id"]) != bool(items["secret_access_key"]):
        raise ConfigurationError(
            "one of access_key_id and secret_access_key of objects is missing; expected both (AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY), or neither for the role of the machine"
        )
    return Location(parts.netloc, prefix, {name: value for name, value in items.items() if value})
