"""The requests that tests make to their Sesame's APIs: deploy, call, triggers, versions, objects.

Used by `testing.cloud`, `testing.function` and `testing.bucket`. Imported while the server starts, because it imports
the command line's clients.
"""

import base64
import http.client
import io
import zipfile
from collections.abc import Mapping
from typing import Any

from sesame.cli.client import Client, Refused, Request, Unreachable, quoted
from sesame.cli.server import Key, Server
from sesame.testing.errors import CloudError
from sesame.testing.objects import ObjectStore
from sesame.testing.result import Result

TIMEOUT_S = 700.0
ALL_METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"]
# Two of `identity.console_roles`, which every account has.
DEFAULT_ROLE = "AliyunFCDefaultRole"
OBJECT_ROLE = "AliyunOSSEventNotificationRole"


class Api:
    """The APIs of one Sesame; `hello` is the first message of its process."""

    def __init__(self, hello: Mapping[str, Any]) -> None:
        self._hello = hello
        key = Key(
            hello["access_key_id"], hello["access_key_secret"], "the test's Sesame", account_id=hello["account_id"]
        )
        self.client = Client(Server(hello["fc"], "the test's Sesame", key, hello["oss"]))
        self.objects = ObjectStore(hello["oss"], key.access_key_id, key.secret)

    # Functions.

    def invoke(self, service: str, function: str, event: bytes) -> Result:
        try:
            answer = self.client.invoke(service, function, event, timeout_s=TIMEOUT_S)
        except (Refused, Unreachable) as error:
            raise CloudError(f"{service}/{function} was not called: {error}") from error
        log = answer.log_tail.decode("utf-8", "replace").replace("\r\n", "\n")
        return Result(answer.body, answer.request_id, answer.error_type, log)

    def invoke_async(self, service: str, function: str, event: bytes) -> str:
        """Returns the request id."""
        request = Request(
            method="POST",
            path=f"{_function(service, function)}/invocations",
            body=event,
            content_type="application/octet-stream",
            headers={"X-Fc-Invocation-Type": "Async"},
        )
        try:
            return self.client.send(request).request_id
        except (Refused, Unreachable) as error:
            raise CloudError(f"{service}/{function} was not called: {error}") from error

    def put_service(self, service: str, role: str) -> None:
        """`role` is a role's name or ARN, or "" for none."""
        arn = role if not role or role.startswith("acs:") else self.role_arn(role)
        path = f"/services/{quoted(service)}"
        self._put("/services", path, {"serviceName": service}, {"role": arn})

    def put_function(self, service: str, function: str, fields: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        self.put_zip(service, function, fields, _zip(files))

    def put_zip(self, service: str, function: str, fields: Mapping[str, Any], data: bytes) -> None:
        """Creates the function, or replaces the one that a test deployed under this name before."""
        document = {**fields, "code": {"zipFile": base64.b64encode(data).decode()}}
        path = _function(service, function)
        self._put(path.rpartition("/")[0], path, {"functionName": function}, document)

    def add_http_trigger(self, service: str, function: str) -> None:
        config = {"authType": "anonymous", "methods": ALL_METHODS}
        self.add_trigger(service, function, {"triggerName": "http", "triggerType": "http", "triggerConfig": config})

    def add_object_trigger(self, service: str, function: str, bucket: str, trigger: Mapping[str, Any]) -> None:
        source = f"acs:oss:{self._hello['region']}:{self._hello['account_id']}:{bucket}"
        whole = {**trigger, "sourceArn": source, "invocationRole": self.role_arn(OBJECT_ROLE)}
        self.add_trigger(service, function, whole)

    def add_trigger(self, service: str, function: str, trigger: Mapping[str, Any]) -> None:
        path = f"{_function(service, function)}/triggers"
        rest = {key: value for key, value in trigger.items() if key not in ("triggerName", "triggerType", "sourceArn")}
        named = {key: value for key, value in trigger.items() if key not in rest}
        self._put(path, f"{path}/{quoted(trigger['triggerName'])}", named, rest)

    def has_http_trigger(self, service: str, function: str) -> bool:
        found = self.client.pages(f"{_function(service, function)}/triggers", "triggers")
        return any(each["triggerType"] == "http" for each in found)

    def proxy_url(self, service: str, function: str) -> str:
        return f"{self._hello['fc']}/2016-08-15/proxy/{quoted(service)}/{quoted(function)}/"

    def publish(self, service: str, alias: str) -> str:
        path = f"/services/{quoted(service)}"
        version = str(self._ask("POST", f"{path}/versions", {})["versionId"])
        if alias:
            self._put(
                f"{path}/aliases", f"{path}/aliases/{quoted(alias)}", {"aliasName": alias}, {"versionId": version}
            )
        return version

    def role_arn(self, name: str) -> str:
        return f"acs:ram::{self._hello['account_id']}:role/{name.lower()}"

    def _put(self, parent: str, path: str, named: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        """Creates the resource, or updates an existing one."""
        try:
            self.client.ask("POST", parent, {**named, **fields})
        except Refused as refusal:
            if refusal.status != http.client.CONFLICT:
                raise CloudError(str(refusal)) from refusal
            self._ask("PUT", path, dict(fields))

    def _ask(self, method: str, path: str, document: Mapping[str, Any]) -> Any:
        try:
            return self.client.ask(method, path, document)
        except (Refused, Unreachable) as error:
            raise CloudError(str(error)) from error


def _function(service: str, function: str) -> str:
    return f"/services/{quoted(service)}/functions/{quoted(function)}"


def _zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()
