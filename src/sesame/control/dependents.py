"""Deletes, in the transaction that deletes a record, the settings that depend on it.

Called when a service, a function, a version or an alias is deleted.
"""

from collections.abc import Callable

from sesame.model import limits, records
from sesame.model.binding import EventSource
from sesame.model.configs import AsyncConfig, ProvisionConfig, ScalingConfig
from sesame.model.session import session_parent
from sesame.store.catalog import Transaction

_Document = AsyncConfig | ProvisionConfig | ScalingConfig | EventSource
# Settings of a function under one qualifier.
_OF_A_QUALIFIER = (records.ASYNC_CONFIG, records.PROVISION_CONFIG, records.SCALING_CONFIG, records.EVENT_SOURCE)
_OF_A_SERVICE = (*_OF_A_QUALIFIER, records.VPC_BINDING)


def forget_service(tx: Transaction, service: str) -> None:
    """Deletes the settings of a service without functions, versions and aliases."""
    for kind in _OF_A_SERVICE:
        for record in tx.children(kind, service):
            tx.delete(kind, service, record.name)
    tx.delete(records.VERSION_COUNTER, "", service)
    tx.delete(records.TAGS, "", service)


def forget_function(tx: Transaction, service: str, function: str) -> None:
    """Deletes the settings of the current function; versions keep theirs."""
    _forget_configs(tx, service, lambda config: (config.function, config.qualifier) == (function, limits.LATEST))
    for kind in (records.RECORDING_CONFIG, records.FUNCTION_STATE):
        if tx.get(kind, service, function) is not None:
            tx.delete(kind, service, function)
    for kind in (records.SESSION, records.SESSION_SNAPSHOT):
        for record in tx.children(kind, session_parent(service, function)):
            tx.delete(kind, record.parent, record.name)


def forget_qualifier(tx: Transaction, owner: str, qualifier: str) -> None:
    """Deletes the settings of every function of the owner under a version or an alias."""
    _forget_configs(tx, owner, lambda config: config.qualifier == qualifier)


def _forget_configs(tx: Transaction, parent: str, is_gone: Callable[[_Document], bool]) -> None:
    for kind in _OF_A_QUALIFIER:
        for record in tx.children(kind, parent):
            if is_gone(record.document):
                tx.delete(kind, parent, record.name)
