"""A version: a service and all of its functions as they stood when it was published.

Made by `control.versions`, kept by `store.catalog`, read by the engine and by whoever reads under a qualifier.
Never changes once it is made.
"""

import msgspec

from sesame.model.function import Function
from sesame.model.service import Service


class Version(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `version`, parent the service, name the id. `description` is the text given when it was published."""

    version_id: str
    description: str
    service: Service


class FrozenFunction(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `frozen_function`, parent as `frozen_parent` says, name the function's; with its record's times and etag."""

    function: Function
    etag: str
    created_at: float
    modified_at: float


class VersionCounter(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `version_counter`, parent "", name the service's: the last number given, so that none is given twice."""

    last: int


def frozen_parent(service: str, version_id: str) -> str:
    """Under which parent the functions of a version are kept."""
    return f"{service}.{version_id}"
