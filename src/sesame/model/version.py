"""A version: a service with all of its functions, or a single function, as published.

Created by `control.versions`, stored by `store.catalog`, read by the engine and wherever a qualifier is accepted.
Immutable.
"""

import msgspec

from sesame.model.function import Function
from sesame.model.service import Service


class Version(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `version`, parent the owner, name the id. `description` is the text given on publishing.

    `service` is the owner's record; a function that belongs to no service has one, too.
    """

    version_id: str
    description: str
    service: Service


class FrozenFunction(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `frozen_function`, parent by `frozen_parent`, name the function; with its record's times and etag."""

    function: Function
    etag: str
    created_at: float
    modified_at: float


class VersionCounter(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `version_counter`, parent "", name the owner: the last number given, so that no number is reused."""

    last: int


def frozen_parent(owner: str, version_id: str) -> str:
    """The parent of a version's functions."""
    return f"{owner}.{version_id}"
