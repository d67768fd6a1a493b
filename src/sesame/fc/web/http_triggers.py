"""Finds the HTTP trigger that lets the web in to a function.

Called by `fc.web.http_functions` for every request to an HTTP function; from the catalog's memory.
Never edits a trigger: `control.triggers` does.
"""

import msgspec

from sesame.control.views import function_view
from sesame.model import limits, records
from sesame.model import trigger_configs as configs
from sesame.model.errors import NotFound, TriggerNotFound
from sesame.model.invocation import Target
from sesame.model.trigger import Trigger, trigger_parent
from sesame.store.catalog import Catalog


class HttpTriggers:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def of(self, target: Target) -> configs.HttpConfig:
        """What the trigger of this very qualifier says.

        Raises what the function's absence raises, and `NotFound` for a function that has no HTTP trigger there.
        """
        for record in self._catalog.children(records.TRIGGER, trigger_parent(target.service, target.function)):
            trigger: Trigger = record.document
            if trigger.trigger_type == configs.HTTP and (trigger.qualifier or limits.LATEST) == target.qualifier:
                return msgspec.convert(trigger.trigger_config, configs.HttpConfig)
        function_view(self._catalog, target.service, target.function, target.qualifier)
        raise NotFound(
            f"function '{target.function}' in service '{target.service}' has no HTTP trigger for qualifier "
            f"'{target.qualifier}': create one of type http, or invoke the function",
            code=TriggerNotFound.code,
        )
