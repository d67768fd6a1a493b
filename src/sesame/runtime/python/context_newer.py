"""The `context` of a function without a service under Python 3.12 and later, as in FC 3.0 (reference/runtime.md section
4.1): credentials are only in the environment.

Used by context.py.
"""

import logging


class FunctionMeta(object):
    """The function's configuration: `memory` in MB, `timeout` in seconds."""

    def __init__(self, name, handler, memory, timeout, version_id, qualifier):
        self.name = name
        self.handler = handler
        self.memory = memory
        self.timeout = timeout
        self.version_id = version_id
        self.qualifier = qualifier

    def to_json(self):
        return {
            "name": self.name,
            "handler": self.handler,
            "memory": self.memory,
            "timeout": self.timeout,
            "versionId": self.version_id,
            "qualifier": self.qualifier,
        }


class FCContext(object):
    """The context that a handler receives with a call.

    `logger` is a property, so that `__dict__` has only plain data.
    """

    def __init__(self, account_id, request_id, function_meta, log_project, log_store, region):
        self.account_id = account_id
        self.request_id = request_id
        self.function = function_meta
        self.log_project = log_project
        self.log_store = log_store
        self.region = region

    @property
    def logger(self):
        """The root logger, whose records carry the request id."""
        return logging.getLogger()

    def to_json(self):
        return {
            "accountId": self.account_id,
            "requestId": self.request_id,
            "function": self.function.to_json(),
            "logProject": self.log_project,
            "logStore": self.log_store,
            "region": self.region,
        }


class Frame(object):
    """Creates a context for each call."""

    def __init__(self, setup):
        self._setup = setup

    def context(self, request_id, meta):
        setup = self._setup
        service, function = setup["service"], setup["function"]
        named = FunctionMeta(
            function["name"],
            function["handler"],
            function["memory"],
            function["timeout"],
            meta["version_id"],
            meta["qualifier"],
        )
        return FCContext(
            setup["account_id"], request_id, named, service["log_project"], service["log_store"], setup["region"]
        )
