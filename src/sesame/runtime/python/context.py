"""The `context` argument of a handler: members, constructor order and JSON form as in reference/runtime.md section 4.

Built by bootstrap.py, once per call. Users see these classes and may construct them in their tests.
"""

import logging
import sys

import context_alone
import context_newer


def _alias(name):
    def read(self):
        return getattr(self, name)

    return property(read)


class Credentials(object):
    """Temporary keys of the service's role; three empty strings for a service without one."""

    def __init__(self, access_key_id, access_key_secret, security_token):
        self.access_key_id = access_key_id
        self.access_key_secret = access_key_secret
        self.security_token = security_token

    accessKeyId = _alias("access_key_id")
    accessKeySecret = _alias("access_key_secret")
    securityToken = _alias("security_token")

    def to_json(self):
        return {
            "accessKeyId": self.access_key_id,
            "accessKeySecret": self.access_key_secret,
            "securityToken": self.security_token,
        }


class ServiceMeta(object):
    """The service as called: `qualifier` is what the caller wrote, `version_id` what it resolved to."""

    def __init__(self, service_name, log_project, log_store, qualifier, version_id):
        self.name = service_name
        self.log_project = log_project
        self.log_store = log_store
        self.qualifier = qualifier
        self.version_id = version_id

    logProject = _alias("log_project")
    logStore = _alias("log_store")
    versionId = _alias("version_id")

    def to_json(self):
        return {
            "name": self.name,
            "logProject": self.log_project,
            "logStore": self.log_store,
            "qualifier": self.qualifier,
            "versionId": self.version_id,
        }


class FunctionMeta(object):
    """The function's configuration: `memory` in MB, the two timeouts in seconds."""

    def __init__(self, name, handler, memory, timeout, initializer, initialization_timeout):
        self.name = name
        self.handler = handler
        self.memory = memory
        self.timeout = timeout
        self.initializer = initializer
        self.initialization_timeout = initialization_timeout

    initializationTimeout = _alias("initialization_timeout")

    def to_json(self):
        return {
            "name": self.name,
            "handler": self.handler,
            "memory": self.memory,
            "timeout": self.timeout,
            "initializer": self.initializer,
            "initializationTimeout": self.initialization_timeout,
        }


class Tracing(object):
    """The caller's trace; empty if tracing is off."""

    def __init__(self, span_context="", jaeger_endpoint="", span_baggages=None):
        self.span_context = span_context
        self.jaeger_endpoint = jaeger_endpoint
        self.span_baggages = dict(span_baggages or {})

    def to_json(self):
        return {
            "openTracingSpanContext": self.span_context,
            "openTracingSpanBaggages": self.span_baggages,
            "jaegerEndpoint": self.jaeger_endpoint,
        }


class FCContext(object):
    """The context that a handler receives with a call.

    `logger` is a property, so that `__dict__` has only plain data.
    """

    def __init__(self, account_id, request_id, credentials, function_meta, service_meta, region):
        self.request_id = request_id
        self.credentials = credentials
        self.function = function_meta
        self.service = service_meta
        self.region = region
        self.account_id = account_id
        self.retry_count = 0
        self.tracing = Tracing()

    requestId = _alias("request_id")
    accountId = _alias("account_id")
    retryCount = _alias("retry_count")

    @property
    def logger(self):
        """The root logger, whose records carry the request id."""
        return logging.getLogger()

    def getLogger(self):
        return self.logger

    def to_json(self):
        return {
            "requestId": self.request_id,
            "credentials": self.credentials.to_json(),
            "function": self.function.to_json(),
            "service": self.service.to_json(),
            "region": self.region,
            "accountId": self.account_id,
            "retryCount": self.retry_count,
            "tracing": self.tracing.to_json(),
        }


def frame(setup):
    """Returns the factory for an instance's contexts."""
    newer = setup.get("alone") and sys.version_info >= (3, 12)
    return context_newer.Frame(setup) if newer else Frame(setup)


class Frame(object):
    """The part of the context that is constant for an instance; creates an FCContext for each call."""

    def __init__(self, setup):
        self._alone = setup if setup.get("alone") else None
        self._account_id = setup["account_id"]
        self._region = setup["region"]
        service, function = setup["service"], setup["function"]
        self._service = (service["name"], service["log_project"], service["log_store"])
        self._function = (
            function["name"],
            function["handler"],
            function["memory"],
            function["timeout"],
            function["initializer"],
            function["initialization_timeout"],
        )

    def context(self, request_id, meta):
        keys = meta["credentials"]
        function, service = self._metas(meta) if self._alone is None else context_alone.metas(self._alone, meta)
        context = FCContext(
            self._account_id,
            request_id,
            Credentials(keys["access_key_id"], keys["access_key_secret"], keys["security_token"]),
            function,
            service,
            self._region,
        )
        context.retry_count = meta.get("retry_count", 0)
        tracing = meta.get("tracing")
        if tracing:
            context.tracing = Tracing(
                tracing.get("span_context", ""), tracing.get("jaeger_endpoint", ""), tracing.get("span_baggages")
            )
        return context

    def _metas(self, meta):
        return FunctionMeta(*self._function), ServiceMeta(*self._service + (meta["qualifier"], meta["version_id"]))
