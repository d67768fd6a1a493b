"""A layer: files that several functions share under /opt, in numbered versions.

Created by `control.layers`, stored by `store.catalog`, read by the engine when it builds an instance.
Field names follow reference/api.md §3.6.
"""

import re

import msgspec

from sesame.model.function import Package

# How requests may name a layer version, for messages.
LAYER_FORMS = "acs:fc:{region}:{account}:layers/{layer}/versions/{version} or {owner}#{layer}#{version}"
_NAME, _VERSION = "([A-Za-z_][A-Za-z0-9_-]*)", "([1-9][0-9]*)"
_ARN = re.compile(rf"acs:fc:[^:/]*:[^:/]*:layers/{_NAME}/versions/{_VERSION}\Z")
_OLD_ARN = re.compile(rf"[^#:/]+#{_NAME}#{_VERSION}\Z")


class Layer(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `layer`, parent "", name the layer. `last_version` is the last number given; no number is reused."""

    layer_name: str
    last_version: int
    public: bool = False


class LayerVersion(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `layer_version`, parent the layer, name the number.

    `deleted` versions are hidden, but kept for the functions that use them. `provided` versions replace the cloud's
    public layers; `source_digest` identifies the files such a version was packed from, so that it is not repacked at
    each start.
    """

    layer_name: str
    version: int
    package: Package
    description: str = ""
    compatible_runtime: tuple[str, ...] = ()
    license: str = ""
    deleted: bool = False
    provided: bool = False
    source_digest: str = ""


def parse_layer_arn(arn: str) -> tuple[str, str] | None:
    """The layer's name and version number, or None if `arn` names no layer.

    Accepts both of the cloud's forms, including the old one with `#`. Region, account and owner are ignored, so that a
    template that names the cloud's public layer finds the layer published here under the same name.
    """
    found = _ARN.match(arn) or _OLD_ARN.match(arn)
    return None if found is None else (found[1], found[2])


def layer_owner(arn: str) -> str:
    """The account in a layer's ARN; `official` for the cloud's own layers."""
    return arn.partition("#")[0] if "#" in arn else arn.split(":")[3]
