"""Reads a bucket with the account's own key, to show what the demo's functions wrote.

Used by `cli.demo.command`. Signs its requests itself (reference/companions.md §1.3) and needs no SDK.
"""

import base64
import email.utils
import hmac
import urllib.error
import urllib.request
from http import HTTPStatus
from urllib.parse import quote

from sesame.data_dir import Credentials

TIMEOUT_S = 30


class DemoBucket:
    """One bucket of a running Sesame; the constructor creates it."""

    def __init__(self, endpoint: str, credentials: Credentials, name: str) -> None:
        self.endpoint = endpoint
        self.name = name
        self._credentials = credentials
        self._ask("PUT", "")

    def read(self, key: str) -> str | None:
        """The object's content, or None if it does not exist. Raises HTTPError for any other answer."""
        try:
            return self._ask("GET", key).decode()
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            raise

    def _ask(self, method: str, key: str) -> bytes:
        date = email.utils.formatdate(usegmt=True)
        to_sign = f"{method}\n\n\n{date}\n/{self.name}/{key}"
        mac = hmac.digest(self._credentials.access_key_secret.encode(), to_sign.encode(), "sha1")
        signature = f"OSS {self._credentials.access_key_id}:{base64.b64encode(mac).decode()}"
        url = f"{self.endpoint}/{self.name}/{quote(key)}"
        request = urllib.request.Request(url, method=method, headers={"Date": date, "Authorization": signature})
        # The server is on this machine: ignore a proxy named in the environment.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            return bytes(answer.read())
