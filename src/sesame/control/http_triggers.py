"""Finds the HTTP trigger through which requests from the web reach a function.

Called by the endpoints that serve HTTP functions, for every such request; reads the catalog's memory.
"""

import msgspec

from sesame.control.views import function_view
from sesame.model import limits, records
from sesame.model import trigger_configs as configs
from sesame.model.errors import HTTP_TRIGGER, NotFound
from sesame.model.invocation import Target
from sesame.model.trigger import Trigger, trigger_parent
from sesame.store.catalog import Catalog


class HttpTriggers:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def of(self, target: Target) -> configs.HttpConfig:
        """What the trigger of exactly this qualifier says.

        Raises what the function's absence raises, and `NotFound` for a function without an HTTP trigger there.
        """
        for record in self._catalog.children(records.TRIGGER, trigger_parent(target.service, target.function)):
            trigger: Trigger = record.document
            if trigger.trigger_type == configs.HTTP and (trigger.qualifier or limits.LATEST) == target.qualifier:
                return msgspec.convert(trigger.trigger_config, configs.HttpConfig)
        function_view(self._catalog, target.service, target.function, target.qualifier)
        raise NotFound(HTTP_TRIGGER, target.qualifier, (target.service, target.function))
