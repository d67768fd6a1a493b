"""A deployed function in tests: calls, triggers, versions, logs.

Created by `testing.cloud.Cloud` and `testing.deployment`.
"""

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from sesame.testing.errors import CloudError
from sesame.testing.invocation import Invocation, short, traceback_of
from sesame.testing.result import Result

if TYPE_CHECKING:
    from sesame.testing.api import Api
    from sesame.testing.bucket import Bucket

OBJECT_EVENTS = ("oss:ObjectCreated:*",)


class Owner(Protocol):
    """The part of `Cloud` that a deployed function uses."""

    def settle(self) -> None: ...
    def bucket(self, name: str) -> "Bucket": ...
    @property
    def invocations(self) -> list[Invocation]: ...


class FunctionFailed(Exception):
    """The function failed. The message has its traceback and log, `result` everything it returned."""

    def __init__(self, name: str, result: Result) -> None:
        self.result = result
        failure = traceback_of(result.payload) or short(result.payload)
        log = f"\nlog:\n{result.log}" if result.log else ""
        super().__init__(f"{name} failed ({result.error}), request {result.request_id}\n{failure}{log}")


class AsyncCall:
    """An asynchronous invocation that was accepted."""

    def __init__(self, function: "Function", request_id: str) -> None:
        self._function = function
        self.request_id = request_id

    def attempts(self) -> list[Invocation]:
        """The attempts made so far, once all work due now is done."""
        self._function.cloud.settle()
        return [each for each in self._function.invocations if each.request_id == self.request_id]

    def result(self) -> Result:
        """The last attempt's result.

        Raises `FunctionFailed` if it failed; `clock.advance` leads to the next attempt.
        """
        attempts = self.attempts()
        if not attempts or not attempts[-1].done:
            raise CloudError(f"the call {self.request_id} has not run yet: it waits for its time, see clock.advance")
        last = attempts[-1]
        payload = last.payload or last.message.encode()
        result = Result(payload, last.request_id, last.error, last.log)
        if last.error:
            raise FunctionFailed(self._function.name, result)
        return result


class Function:
    """`service/function` of a test's Sesame."""

    def __init__(self, cloud: Owner, api: "Api", service: str, function: str) -> None:
        self.cloud = cloud
        self.service = service
        self.function = function
        self._api = api

    @property
    def name(self) -> str:
        return f"{self.service}/{self.function}"

    def __repr__(self) -> str:
        return f"<Function {self.name}>"

    def invoke(self, event: object = b"", *, qualifier: str | None = None, check: bool = True) -> Result:
        """Calls the function and waits for its result. The event is bytes, text, or anything that JSON can encode.

        Raises `FunctionFailed` if the function fails; with `check=False`, the result has the error instead. Raises
        `CloudError` if the call was refused.
        """
        result = self._api.invoke(self._called(qualifier), self.function, event_of(event))
        if check and result.error:
            raise FunctionFailed(self.name, result)
        return result

    def invoke_async(self, event: object = b"", *, qualifier: str | None = None) -> AsyncCall:
        """Calls the function asynchronously; returns once the call is accepted."""
        return AsyncCall(self, self._api.invoke_async(self._called(qualifier), self.function, event_of(event)))

    @property
    def url(self) -> str:
        """The URL of the function's HTTP trigger. Raises `CloudError` if it has none."""
        if not self._api.has_http_trigger(self.service, self.function):
            raise CloudError(f"{self.name} has no HTTP trigger: deploy it with http=True")
        return self._api.proxy_url(self.service, self.function)

    @property
    def invocations(self) -> list[Invocation]:
        """Every attempt to call the function in this test, whoever made the call, in order."""
        own_name = (self.service, self.function)
        found = (each for each in self.cloud.invocations if each.kind == "invoke")
        return [each for each in found if (each.service, each.function) == own_name]

    @property
    def events(self) -> list[bytes]:
        """The events of its invocations."""
        return [each.event for each in self.invocations]

    def logs(self) -> str:
        """Everything that the function and Sesame logged for its calls in this test."""
        own_name = (self.service, self.function)
        return "".join(each.log for each in self.cloud.invocations if (each.service, each.function) == own_name)

    def assert_logged(self, pattern: str) -> None:
        """Fails with the whole log unless it matches this regular expression."""
        logs = self.logs()
        if not re.search(pattern, logs, re.MULTILINE):
            raise AssertionError(f"{self.name} did not log {pattern!r}. Its log:\n{logs or '(empty)'}")

    def assert_not_logged(self, pattern: str) -> None:
        """Fails with the first matching line if the log matches this regular expression."""
        logs = self.logs()
        found = re.search(pattern, logs, re.MULTILINE)
        if found:
            start, end = logs.rfind("\n", 0, found.start()) + 1, logs.find("\n", found.end())
            line = logs[start : end if end >= 0 else None]
            raise AssertionError(f"{self.name} logged {pattern!r}: {line}")

    def publish(self, alias: str = "") -> str:
        """Publishes a version of the function's service and returns its id; points the alias, if named, to it."""
        return self._api.publish(self.service, alias)

    def on_timer(self, schedule: str, payload: str = "", *, name: str = "timer") -> None:
        """Adds a timer trigger: `@every 5m`, or a cron expression of six fields. `cloud.clock` makes it fire."""
        config = {"cronExpression": schedule, "payload": payload, "enable": True}
        self._api.add_trigger(
            self.service, self.function, {"triggerName": name, "triggerType": "timer", "triggerConfig": config}
        )

    def on_object(
        self,
        bucket: str,
        *,
        prefix: str = "",
        suffix: str = "",
        events: Sequence[str] = OBJECT_EVENTS,
        name: str = "oss",
    ) -> None:
        """Adds a trigger for objects of this bucket, which is created if it does not exist."""
        self.cloud.bucket(bucket)
        self._api.add_object_trigger(
            self.service,
            self.function,
            bucket,
            {
                "triggerName": name,
                "triggerType": "oss",
                "triggerConfig": {"events": list(events), "filter": {"key": {"prefix": prefix, "suffix": suffix}}},
            },
        )

    def _called(self, qualifier: str | None) -> str:
        return f"{self.service}.{qualifier}" if qualifier else self.service


def event_of(event: object) -> bytes:
    """Bytes unchanged, text as UTF-8, anything else as JSON."""
    if isinstance(event, bytes | bytearray | memoryview):
        return bytes(event)
    return event.encode() if isinstance(event, str) else json.dumps(event).encode()
