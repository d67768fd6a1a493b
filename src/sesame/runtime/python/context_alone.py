"""Function and service in the context of a function without a service, in FC 3.0's runtimes before Python 3.12
(reference/runtime.md section 4.1).

Used by context.py.
"""


class FunctionMeta(object):
    """The function's configuration: `memory` in MB, `timeout` in seconds."""

    def __init__(self, name, handler, memory, timeout):
        self.name = name
        self.handler = handler
        self.memory = memory
        self.timeout = timeout

    def to_json(self):
        return {"name": self.name, "handler": self.handler, "memory": self.memory, "timeout": self.timeout}


class ServiceMeta(object):
    """`qualifier` is what the caller wrote, `version_id` what it resolved to."""

    def __init__(self, log_project, log_store, qualifier, version_id):
        self.log_project = log_project
        self.log_store = log_store
        self.qualifier = qualifier
        self.version_id = version_id

    def to_json(self):
        return {
            "logProject": self.log_project,
            "logStore": self.log_store,
            "qualifier": self.qualifier,
            "versionId": self.version_id,
        }


def metas(setup, meta):
    """Both objects, for one call."""
    service, function = setup["service"], setup["function"]
    return (
        FunctionMeta(function["name"], function["handler"], function["memory"], function["timeout"]),
        ServiceMeta(service["log_project"], service["log_store"], meta["qualifier"], meta["version_id"]),
    )
