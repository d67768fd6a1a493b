"""A layer: files that several functions share under /opt, in numbered versions.

Made by `control.layers`, kept by `store.catalog`, read by the engine when it puts an instance together.
Field names follow reference/api.md §3.6.
"""

import re

import msgspec

from sesame.model.function import Package

# What a version of a layer is called in requests, for messages.
LAYER_FORMS = "acs:fc:{region}:{account}:layers/{layer}/versions/{version} or {owner}#{layer}#{version}"
_NAME, _VERSION = "([A-Za-z_][A-Za-z0-9_-]*)", "([1-9][0-9]*)"
_ARN = re.compile(rf"acs:fc:[^:/]*:[^:/]*:layers/{_NAME}/versions/{_VERSION}\Z")
_OLD_ARN = re.compile(rf"[^#:/]+#{_NAME}#{_VERSION}\Z")


class Layer(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `layer`, parent "", name the layer's. `last_version` is the last number given; none is given twice."""

    layer_name: str
    last_version: int
    public: bool = False


class LayerVersion(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `layer_version`, parent the layer's name, name the number.

    `deleted` ones are not shown; they are kept for the functions that have them. `provided` ones stand for the cloud's;
    `source_digest` is of the files that one was packed from, so that it is not packed at each start.
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
    """The layer's name and the number of its version, or None when this is no ARN of a layer.

    Both of the cloud's forms are read, the old one with `#` too. Region, account and owner are not compared: a
    template that names the cloud's public layer finds the one that was published here under the same name.
    """
    found = _ARN.match(arn) or _OLD_ARN.match(arn)
    return None if found is None else (found[1], found[2])


def layer_owner(arn: str) -> str:
    """The account of a layer's ARN; `official` for those that the cloud publishes."""
    return arn.partition("#")[0] if "#" in arn else arn.split(":")[3]
