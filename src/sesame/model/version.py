"""A version: a service with all of its functions, or one function, as it was when the version was published.

Made by `control.versions`, kept by `store.catalog`, read by the engine and by everything that takes a qualifier.
Never changes once it is made.
"""

import msgspec

from sesame.model.function import Function
from sesame.model.service import Service


class Version(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `version`, parent the owner's name, name the id. `description` is the text given when it was published.

    `service` is the owner, which a function that belongs to no service has too.
    """

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
    """Kind `version_counter`, parent "", name the owner's: the last number given, so that none is given twice."""

    last: int


def frozen_parent(owner: str, version_id: str) -> str:
    """The parent of the functions of a version."""
    return f"{owner}.{version_id}"
