"""Reads `[layers]` of the settings at a start: local replacements for layers of the cloud.

Called by `app`, once storage is open.
"""

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sesame.control.provided_layers import ProvidedLayer, ProvidedLayers
from sesame.model import limits, records
from sesame.model.errors import ConfigurationError
from sesame.model.function import Package
from sesame.model.layer import LAYER_FORMS, LayerVersion, parse_layer_arn
from sesame.store.catalog import Catalog
from sesame.store.packages.packages import Packages

if TYPE_CHECKING:
    from sesame.deploy.project import Code

_OWN = re.compile(r"([A-Za-z_][A-Za-z0-9_-]{0,63})(?::([1-9][0-9]{0,8}))?\Z")

log = structlog.get_logger(__name__)


async def provide_layers(named: dict[str, str], catalog: Catalog, packages: Packages) -> None:
    """Raises `ConfigurationError` for an invalid line; warns about a replacement that does not exist yet."""
    wanted = [await _wanted(arn, source, catalog, packages) for arn, source in named.items()]
    for warning in await ProvidedLayers(catalog).provide(wanted):
        log.warning(warning)


async def _wanted(arn: str, source: str, catalog: Catalog, packages: Packages) -> ProvidedLayer:
    found = parse_layer_arn(arn)
    if found is None:
        raise ConfigurationError(f"layers has '{arn}'; expected {LAYER_FORMS}")
    name, version = found[0], int(found[1])
    own = _OWN.match(source)
    if own is not None:
        return ProvidedLayer(name, version, own=own[1], own_version=int(own[2]) if own[2] else None)
    if "/" not in source and not source.endswith(".zip"):
        raise ConfigurationError(
            f"layers has '{arn}' = '{source}'; expected a layer (NAME or NAME:VERSION), a folder (./FOLDER) or a zip"
        )
    present = catalog.get(records.LAYER_VERSION, *found)
    try:
        digest = await asyncio.to_thread(_digest, source)
        known = None if present is None else _known(present.document, digest, packages)
        package = known or await _packed(source, packages)
    except ConfigurationError as error:
        raise ConfigurationError(f"layers: for '{arn}': {error}") from error
    return ProvidedLayer(name, version, package=package, source_digest=digest)


def _known(version: LayerVersion, digest: str, packages: Packages) -> Package | None:
    """The package that an earlier start made from the same files, if it still exists."""
    same = version.provided and digest and version.source_digest == digest
    return version.package if same and packages.folder.is_whole(version.package.sha256) else None


async def _packed(source: str, packages: Packages) -> Package:
    first, *others = limits.SANDBOXED_RUNTIMES
    package = await packages.add(await asyncio.to_thread(_archive, source), first)
    for runtime in others:
        packages.want_compiled(package.sha256, runtime)
    return package


def _digest(source: str) -> str:
    # Imported only if a line names a folder or a zip.
    from sesame.deploy import archive

    return archive.digest(_code(source))


def _archive(source: str) -> bytes:
    from sesame.deploy import archive

    return archive.packed(_code(source))


def _code(source: str) -> "Code":
    from sesame.deploy.project import Code

    return Code(path=Path(source).expanduser().resolve())
