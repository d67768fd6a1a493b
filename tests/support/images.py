"""Container images made of this machine's own files, never downloaded: roots, OCI layouts, and what docker save writes.

Used by the tests of the store, of the jail and of its walls.
"""

import gzip
import hashlib
import io
import json
import platform
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.custom import PATH, CustomStage

from sesame.sandbox.interface import ImageRoot, SandboxDriver

PYTHON = Path("/usr/bin/python3")
PROGRAMS = ("/bin/sh", "/usr/bin/env", "/bin/cat", "/bin/sleep", "/usr/bin/id")
_LIBRARY = re.compile(r"(/\S+) \(0x")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "test", "idlelib", "config-*", "dist-packages", "site-packages")


def python_root(folder: Path) -> Path:
    """A root with the system's Python, a shell and a few programs. Skips the test where there is no such Python."""
    if not PYTHON.exists():
        pytest.skip("an image is made of the system's Python, and there is none")
    root = folder / "root"
    interpreter = PYTHON.resolve()
    library = Path("/usr/lib") / interpreter.name
    for program in (str(interpreter), *PROGRAMS):
        _copy_program(Path(program), root)
    (root / "usr" / "bin" / "python3").symlink_to(interpreter.name)
    shutil.copytree(library, root / str(library)[1:], symlinks=True, ignore=_LEFT_OUT)
    for extension in (library / "lib-dynload").glob("*.so"):
        _copy_libraries(extension, root)
    for name in ("etc", "home", "srv", "tmp"):
        (root / name).mkdir()
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\napp:x:1000:\n")
    for path in (root, *root.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    return root


def _copy_program(program: Path, root: Path) -> None:
    target = root / str(program)[1:]
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(program, target)
    _copy_libraries(program, root)


def _copy_libraries(file: Path, root: Path) -> None:
    linked = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=False).stdout
    for library in _LIBRARY.findall(linked):
        target = root / library[1:]
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)


def image_root(root: Path, **changes: Any) -> ImageRoot:
    fields: dict[str, Any] = {"user_id": 0, "group_id": 0, "home": "/root", "working_dir": "/", **changes}
    return ImageRoot(name="file:///image", root=root, **fields)


class ContainerStage(CustomStage):
    """As `CustomStage`, with an image as the root; the program is the code's, as the attacks' is."""

    def __init__(self, driver: SandboxDriver, root: Path) -> None:
        super().__init__(driver)
        self._root = root

    async def start(self, case: str | Path, handler: str = "index.handler", **more: Any) -> Any:
        image = more.pop("image", None) or image_root(self._root)
        variables = {"HOME": "/root", "PATH": PATH, **more.pop("variables", {})}
        return await super().start(case, handler, image=image, variables=variables, **more)


Entry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, content: bytes = b"", **fields: Any) -> Entry:
    """A file of a layer, or what `type`, `linkname`, `mode`, `uid` … make of it."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def folder(name: str, **fields: Any) -> Entry:
    return entry(name, type=tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def link(name: str, target: str) -> Entry:
    return entry(name, type=tarfile.SYMTYPE, linkname=target)


def layer_of(entries: Iterable[Entry]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


def layer_of_folder(root: Path) -> bytes:
    made = io.BytesIO()

    def of_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        return info

    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.add(root, ".", filter=of_root)
    return made.getvalue()


class Layout:
    """An OCI image layout in a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs" / "sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, content: bytes, kind: str = "", **more: Any) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (self.path / "blobs" / "sha256" / digest).write_bytes(content)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content), **more}

    def document(self, content: Any, kind: str = "", **more: Any) -> dict[str, Any]:
        return self.blob(json.dumps(content).encode(), kind, **more)

    def manifest(self, layers: Iterable[bytes], config: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        layers = list(layers)
        described = self.document(image_config(layers, config), "application/vnd.oci.image.config.v1+json")
        blobs = [self.blob(gzip.compress(layer, 1), "application/vnd.oci.image.layer.v1.tar+gzip") for layer in layers]
        kind = "application/vnd.oci.image.manifest.v1+json"
        return self.document({"schemaVersion": 2, "config": described, "layers": blobs}, kind, **more)

    def index(self, *manifests: dict[str, Any]) -> Path:
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
        return self.path


def image_config(layers: Iterable[bytes], config: Mapping[str, Any]) -> dict[str, Any]:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    return {
        "architecture": machine, "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }  # fmt: skip


def layout(path: Path, layers: Iterable[bytes], **config: Any) -> Path:
    """A layout of one image."""
    made = Layout(path)
    return made.index(made.manifest(layers, config))


def saved(path: Path, layers: Iterable[bytes], **config: Any) -> Path:
    """As `docker save` writes it."""
    layers = list(layers)
    described = json.dumps(image_config(layers, config)).encode()
    name = f"{hashlib.sha256(described).hexdigest()}.json"
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = json.dumps([{"Config": name, "RepoTags": ["app:v1"], "Layers": names}]).encode()
    files = {name: described, **dict(zip(names, layers, strict=True)), "manifest.json": manifest}
    path.write_bytes(layer_of(entry(name, content) for name, content in files.items()))
    return path
