"""Reads an image from its path: an OCI image layout, an archive of `docker save`, or an unpacked bundle.

Used by `store.images.images`, on threads. Nothing here trusts a size, a name or a hash that a file declares.
"""

import contextlib
import hashlib
import platform
import re
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec

from sesame.model.container import ImageUnavailable

DOCUMENT_BYTES = 4 * 1024 * 1024
LAYERS_MAX = 256
ROOTFS, BUNDLE_CONFIG = "rootfs", "config.json"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")
# Names of files in an archive of `docker save`: relative, in a few folders at most.
_MEMBER = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+){0,3}\Z")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_REFERENCE = "org.opencontainers.image.ref.name"
_EXPECTED = (
    "expected an OCI image layout (skopeo copy docker://… oci:DIR), an unpacked bundle (umoci unpack …, with rootfs/) "
    "or a file that docker save wrote, uncompressed"
)


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    digest: str = ""
    media_type: str = ""
    annotations: dict[str, str] = {}
    platform: dict[str, Any] = {}


class _Index(msgspec.Struct, frozen=True):
    manifests: list[Descriptor]


class _Manifest(msgspec.Struct, frozen=True, rename="camel"):
    config: Descriptor
    layers: list[Descriptor]


class _Saved(msgspec.Struct, frozen=True):
    """An entry of the manifest.json of `docker save`."""

    config: str = msgspec.field(name="Config")
    layers: list[str] = msgspec.field(name="Layers")
    tags: list[str] | None = msgspec.field(name="RepoTags", default=None)


class RootFs(msgspec.Struct, frozen=True):
    diff_ids: list[str] = []


class Config(msgspec.Struct, frozen=True):
    """The fields of an image's configuration that are read; `container` is its `config`."""

    container: dict[str, Any] | None = msgspec.field(name="config", default=None)
    rootfs: RootFs = RootFs()


class Source(Protocol):
    """Provides the files of an image."""

    def open(self, name: str) -> "contextlib.AbstractContextManager[IO[bytes]]":
        """Raises `FileNotFoundError`."""


class Image(msgspec.Struct, frozen=True):
    """An image to unpack. `digest` is its configuration's, which determines the content of every layer.

    `layers` are file names for `open`, the lowest first, and `diff_ids` the hashes of their content.
    """

    digest: str
    config: dict[str, Any]
    layers: tuple[str, ...]
    diff_ids: tuple[str, ...]


class Bundle(msgspec.Struct, frozen=True):
    """A root that is already unpacked, with the `process` of its config.json, or an empty mapping."""

    root: Path
    process: dict[str, Any]


class Folder:
    """The files of a layout in a directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        with (self._path / name).open("rb") as file:
            yield file


class Archive:
    """The files of a layout in a tar, which `docker save` writes uncompressed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        with tarfile.open(self._path, "r:") as archive:
            try:
                member = archive.getmember(name)
                # Older versions of Docker save a repeated layer as a link.
                file = archive.extractfile(member)
            except KeyError:
                file = None
            if file is None:
                raise FileNotFoundError(name)
            with file:
                yield file


def read(path: Path, reference: str) -> tuple[Image, Source] | Bundle:
    """Raises `ImageUnavailable` if the path is none of these formats, and `OSError`."""
    status = path.stat()
    if stat.S_ISREG(status.st_mode):
        source: Source = Archive(path)
        try:
            with contextlib.suppress(FileNotFoundError):
                return _saved(source, reference), source
            # Written by `podman save --format oci-archive` and `skopeo copy … oci-archive:`.
            return _layout(source, reference), source
        except tarfile.TarError as error:
            raise _refused(reference, f"a file that is not a tar archive ({error})") from error
    if (path / "index.json").is_file():
        source = Folder(path)
        return _layout(source, reference), source
    root = path / ROOTFS
    if root.is_dir() and not root.is_symlink():
        return Bundle(root, _process(path, reference))
    raise _refused(reference, "a directory without index.json and without rootfs/")


def _layout(source: Source, reference: str) -> Image:
    index = _document(source, "index.json", _Index, reference)
    manifest = _document(source, _blob(_chosen(source, index.manifests, reference), reference), _Manifest, reference)
    layers = tuple(_blob(layer, reference) for layer in manifest.layers)
    return _image(source, _blob(manifest.config, reference), layers, reference)


def _saved(source: Source, reference: str) -> Image:
    """Reads manifest.json, which every version of `docker save` writes."""
    entries = _decoded(_content(source, "manifest.json", reference), list[_Saved], "manifest.json", reference)
    if len(entries) > 1:
        entries = [entry for entry in entries if reference in (entry.tags or ())]
    if len(entries) != 1:
        raise _refused(reference, "several images, none of this name", "one image: docker save IMAGE")
    for name in (entries[0].config, *entries[0].layers):
        if not _MEMBER.match(name) or ".." in name:
            raise _refused(reference, f"the file name '{name[:80]}'")
    return _image(source, entries[0].config, tuple(entries[0].layers), reference)


def _image(source: Source, config_name: str, layers: tuple[str, ...], reference: str) -> Image:
    content = _content(source, config_name, reference)
    config = _decoded(content, Config, config_name, reference)
    diff_ids = tuple(config.rootfs.diff_ids)
    if len(layers) != len(diff_ids) or len(layers) > LAYERS_MAX or not all(map(_DIGEST.match, diff_ids)):
        raise _refused(
            reference, f"{len(layers)} layers and {len(diff_ids)} hashes of them", f"as many, at most {LAYERS_MAX}"
        )
    return Image(hashlib.sha256(content).hexdigest(), config.container or {}, layers, diff_ids)


def _chosen(source: Source, manifests: list[Descriptor], reference: str, *, nested: bool = False) -> Descriptor:
    """The image of this name, if there are several, and for this machine."""
    machine = _MACHINES.get(platform.machine(), platform.machine())
    fitting = [each for each in manifests if not each.platform or each.platform.get("architecture") == machine]
    if len(fitting) > 1:
        tag = reference.rpartition("/")[2].partition(":")[2]
        names = {reference, tag} - {""}
        fitting = [each for each in fitting if each.annotations.get(_REFERENCE) in names] or fitting
    if len(fitting) != 1:
        raise _refused(reference, f"{len(fitting)} images for {machine}", "one, or one whose ref.name is the tag")
    if "index" in fitting[0].media_type or "manifest.list" in fitting[0].media_type:
        if nested:
            raise _refused(reference, "an index in an index of images")
        inner = _document(source, _blob(fitting[0], reference), _Index, reference)
        return _chosen(source, inner.manifests, reference, nested=True)
    return fitting[0]


def _blob(descriptor: Descriptor, reference: str) -> str:
    found = _DIGEST.match(descriptor.digest)
    if found is None:
        raise _refused(reference, f"the digest '{descriptor.digest[:80]}'", "digests by sha256")
    return f"blobs/sha256/{found[1]}"


def _process(path: Path, reference: str) -> dict[str, Any]:
    try:
        content = _content(Folder(path), BUNDLE_CONFIG, reference)
    except FileNotFoundError:
        return {}
    document = _decoded(content, dict[str, Any], BUNDLE_CONFIG, reference)
    process = document.get("process")
    return process if isinstance(process, dict) else {}


def _document(source: Source, name: str, kind: Any, reference: str) -> Any:
    try:
        content = _content(source, name, reference)
    except FileNotFoundError as error:
        raise _refused(reference, f"no {name}") from error
    expected = name.removeprefix("blobs/sha256/")
    if expected != name and hashlib.sha256(content).hexdigest() != expected:
        raise _refused(reference, f"{name}, whose content has another hash", "the content that the name says")
    return _decoded(content, kind, name, reference)


def _content(source: Source, name: str, reference: str) -> bytes:
    with source.open(name) as file:
        content = file.read(DOCUMENT_BYTES + 1)
    if len(content) > DOCUMENT_BYTES:
        raise _refused(reference, f"{name} of more than {DOCUMENT_BYTES} bytes", "less")
    return content


def _decoded(content: bytes, kind: Any, name: str, reference: str) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(reference, f"{name}, which cannot be read ({error})") from error


def _refused(reference: str, found: str, expected: str = "") -> ImageUnavailable:
    return ImageUnavailable(
        f"The image '{reference}' cannot be read: found {found}, {f'expected {expected}' if expected else _EXPECTED}"
    )
