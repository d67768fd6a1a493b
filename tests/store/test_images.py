"""Container images in the data directory: which may be named, how they are unpacked, when they go."""

import os
import stat
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.support.images import (
    Entry,
    Layout,
    entry,
    folder,
    image_config,
    layer_of,
    layout,
    link,
    saved,
)

from sesame.model import limits
from sesame.model.container import ContainerImage, ImageConfig, ImageUnavailable
from sesame.model.errors import ConfigurationError
from sesame.store.images.images import Images
from sesame.store.images.places import ImagePlaces
from sesame.store.packages.packages import COLLECT_GRACE_S

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HELLO = layer_of([folder("bin"), entry("bin/hello", b"#!/bin/sh\n", mode=0o4755)])


class Store:
    """Images of one server, which may name what is in `root`."""

    def __init__(self, path: Path) -> None:
        self.root = path / "allowed"
        self.root.mkdir()
        self.folder = path / "data" / "images"
        self.now = 0.0
        # So many files are written before the disk is short.
        self.left = 1_000_000
        self.images = Images(self.folder, ImagePlaces(self.root, {}), lambda: self.now, self._shortage)

    def _shortage(self) -> str:
        self.left -= 1
        return "" if self.left >= 0 else "the disk is short; free some space"

    def url(self, name: str = "app") -> str:
        return f"file://{self.root}/{name}"

    async def unpacked(self, *layers: list[Entry], **config: Any) -> Path:
        path = self.root / f"app-{len(list(self.root.iterdir()))}"
        layout(path, map(layer_of, layers), **config)
        lease = await self.images.lease(self.url(path.name))
        lease.release()
        return lease.root

    def kept(self) -> list[str]:
        return [path.name for path in self.folder.iterdir() if path.name != "staging"] if self.folder.exists() else []

    def staged(self) -> list[Path]:
        staging = self.folder / "staging"
        return list(staging.iterdir()) if staging.exists() else []


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


async def test_a_layout_a_saved_file_and_a_bundle(store: Store) -> None:
    config = {
        "Entrypoint": ["/bin/hello"], "Cmd": ["a"], "Env": ["A=b=c"], "WorkingDir": "/w", "User": "7:8",
    }  # fmt: skip
    layout(store.root / "app", [HELLO], **config)
    saved(store.root / "app.tar", [HELLO], **config)
    bundle = store.root / "bundle"
    (bundle / "rootfs" / "bin").mkdir(parents=True)
    (bundle / "config.json").write_text(
        '{"process": {"args": ["/bin/hello", "a"], "env": ["A=b=c"], "cwd": "/w", "user": {"uid": 7, "gid": 8}}}'
    )
    leases = [await store.images.lease(store.url(name)) for name in ("app", "app.tar", "bundle")]
    with tarfile.open(store.root / "oci.tar", "w") as archive:
        archive.add(store.root / "app", "")
    leases.insert(1, await store.images.lease(store.url("oci.tar")))
    for lease in leases:
        found = lease.config
        assert found.program(ContainerImage("")) == ("/bin/hello", "a")
        assert (found.environment, found.working_dir) == ({"A": "b=c"}, "/w")
        assert (found.user_id, found.group_id) == (7, 8)
    assert leases[0].root == leases[1].root == leases[2].root
    assert leases[3].root == bundle / "rootfs"
    assert (leases[0].root / "bin" / "hello").read_text() == "#!/bin/sh\n"
    assert stat.S_IMODE((leases[0].root / "bin" / "hello").stat().st_mode) == 0o755
    assert len(store.kept()) == 1


@pytest.mark.parametrize("directory", ["relative", "/a/../b", "/" + "\u00e9" * 128, "/x" * 600])
async def test_a_working_directory_that_cannot_be_is_refused_with_what_can(store: Store, directory: str) -> None:
    layout(store.root / "app", [HELLO], WorkingDir=directory)
    with pytest.raises(ImageUnavailable, match=r"an absolute path without .* of at most 1024 bytes and 255 in each"):
        await store.images.lease(store.url("app"))


def test_an_entrypoint_of_the_functions_own_is_not_given_the_images_command() -> None:
    config = ImageConfig(entrypoint=("/e",), command=("c",))
    assert config.program(ContainerImage("", entrypoint=("/x",))) == ("/x",)
    assert config.program(ContainerImage("", command=("d",))) == ("/e", "d")
    assert config.program(ContainerImage("", ("/x",), ("d",))) == ("/x", "d")


async def test_users_by_their_names(store: Store) -> None:
    users = [
        folder("etc"), entry("etc/passwd", b"app:x:1000:1001::/home/app:/bin/sh\n"),
        entry("etc/group", b"staff:x:50:\n"),
    ]  # fmt: skip
    for number, (user, found) in enumerate(
        {"app": (1000, 1001, "/home/app"), "1000": (1000, 1001, "/home/app"), "app:staff": (1000, 50, "/home/app"),
         "": (0, 0, "/root"), "4:5": (4, 5, "/")}.items()
    ):  # fmt: skip
        layout(store.root / f"of-{number}", [layer_of(users)], User=user, Cmd=["x"])
        config = (await store.images.lease(store.url(f"of-{number}"))).config
        assert (config.user_id, config.group_id, config.home) == found
    layout(store.root / "nobody", [layer_of(users)], User="nobody")
    with pytest.raises(ImageUnavailable, match="the user 'nobody', who is not in its /etc/passwd"):
        await store.images.lease(store.url("nobody"))


async def test_users_are_not_read_from_where_links_lead(store: Store, tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("app:x:1000:1000::/secret:/bin/sh\n")
    for entries in ([folder("etc"), link("etc/passwd", str(tmp_path / "passwd"))], [link("etc", str(tmp_path))]):
        layout(store.root / f"app-{len(entries)}", [layer_of(entries)], User="app")
        with pytest.raises(ImageUnavailable, match="not in its /etc/passwd"):
            await store.images.lease(store.url(f"app-{len(entries)}"))


async def test_users_are_found_by_links_within_the_image(store: Store) -> None:
    users = [
        folder("usr"), folder("usr/etc"), link("etc", "usr/etc"), link("usr/etc/passwd", "/../srv/users"),
        folder("srv"), entry("srv/users", b"app:x:1000:1001::/home/app:/bin/sh\n"),
    ]  # fmt: skip
    layout(store.root / "app", [layer_of(users)], User="app", Cmd=["x"])
    config = (await store.images.lease(store.url("app"))).config
    assert (config.user_id, config.group_id, config.home) == (1000, 1001, "/home/app")


@pytest.mark.parametrize("target", ["x" * 300, "passwd", "/proc/1"])
async def test_a_link_that_leads_nowhere_has_no_users(store: Store, target: str) -> None:
    entries = [folder("etc"), link("etc/passwd", target)]
    layout(store.root / "app", [layer_of(entries)], User="1000", Cmd=["x"])
    config = (await store.images.lease(store.url("app"))).config
    assert (config.user_id, config.group_id) == (1000, 0)


async def test_layers_lie_over_one_another(store: Store) -> None:
    root = await store.unpacked(
        [folder("a"), entry("a/one", b"1"), entry("a/two", b"2"), folder("b"), entry("b/x", b"x"), entry("c", b"file"),
         folder("d"), folder("d/deep"), entry("d/deep/old", b"")],
        [entry("a/.wh.one"), entry("a/two", b"new"), entry("b", b"now a file"), folder("c"), entry("c/in", b""),
         entry("d/deep/new", b""), entry("d/.wh..wh..opq")],
    )  # fmt: skip
    assert names(root) == {"a", "a/two", "b", "c", "c/in", "d", "d/deep", "d/deep/new"}
    assert (root / "a" / "two").read_text() == "new"


async def test_links_of_all_kinds(store: Store) -> None:
    root = await store.unpacked(
        [folder("usr"), folder("usr/lib"), link("lib", "usr/lib"), link("abs", "/usr/lib"), link("up", "../../usr")],
        [entry("lib/one", b"1"), entry("abs/two", b"2"), entry("up/three", b"3"),
         entry("hard", type=tarfile.LNKTYPE, linkname="lib/one")],
    )  # fmt: skip
    assert names(root) == {"usr", "usr/lib", "lib", "abs", "up", "usr/lib/one", "usr/lib/two", "usr/three", "hard"}
    assert (root / "hard").stat().st_ino == (root / "usr" / "lib" / "one").stat().st_ino
    assert os.readlink(root / "abs") == "/usr/lib"


async def test_nothing_is_written_outside(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    root = await store.unpacked(
        [link("a", str(outside)), link("b", f"/../../..{outside}"), link("c", "file"),
         link("file", str(outside / "file")), folder("gone"), folder("gone/deep", mode=0o700)],
        [entry("a/new", b"x"), folder("a/dir", mode=0o777), entry("b/other", b"x"), entry("c", b"x"),
         entry("file", b"x"), entry("a/.wh.file"), entry("b/.wh..wh..opq"), entry(".wh.gone"),
         link("gone", str(outside)), folder("gone/deep", mode=0o777)],
    )  # fmt: skip
    assert names(outside) == {"file"}
    assert (outside / "file").read_text() == "mine"
    assert stat.S_IMODE(outside.stat().st_mode) != 0o777
    assert (root / "c").read_text() == "x"


async def test_devices_are_left_out(store: Store) -> None:
    root = await store.unpacked(
        [entry("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3), entry("disk", type=tarfile.BLKTYPE),
         entry("pipe", type=tarfile.FIFOTYPE), entry("kept", b"")],
    )  # fmt: skip
    assert names(root) == {"kept"}


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([entry("../x", b"")], "a path that leaves the image"),
        ([entry("a/../../x", b"")], "a path that leaves the image"),
        ([link("a", "b"), link("b", "a"), entry("a/x", b"")], "links that lead to each other"),
        ([entry("x" * 300, b"")], "a name that is too long"),
        ([entry("x", type=tarfile.LNKTYPE, linkname="/etc/passwd")], "which is no file before it"),
        ([entry(".wh...", b"")], "a whiteout of nothing"),
    ],
)
async def test_layers_that_are_refused_leave_nothing(store: Store, entries: list[Entry], said: str) -> None:
    with pytest.raises(ImageUnavailable, match=said):
        await store.unpacked(entries)
    assert (store.kept(), store.staged()) == ([], [])


async def test_an_image_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IMAGE_UNPACKED_BYTES", 1000)
    with pytest.raises(ImageUnavailable, match="at most 1000 bytes"):
        await store.unpacked([entry("a", bytes(600))], [entry("b", bytes(600))])
    monkeypatch.setattr(limits, "IMAGE_ENTRIES", 10)
    with pytest.raises(ImageUnavailable, match="more in its layers"):
        await store.unpacked([entry("device", bytes(3_000_000), type=tarfile.CHRTYPE)])
    monkeypatch.setattr(limits, "IMAGE_ENTRIES", 3)
    with pytest.raises(ImageUnavailable, match="at most 3 files and folders"):
        await store.unpacked([entry("a/b/c", b"")], [entry("d", b"")])
    assert (store.kept(), store.staged()) == ([], [])


async def test_the_disk_keeps_its_reserve(store: Store) -> None:
    store.left = 3
    with pytest.raises(ImageUnavailable, match="cannot be unpacked: the disk is short"):
        await store.unpacked([entry(f"file{number}", b"x") for number in range(4)])
    assert (store.kept(), store.staged()) == ([], [])
    store.left = 5
    assert (await store.unpacked([entry(f"file{number}", b"x") for number in range(4)]) / "file3").is_file()


async def test_the_names_of_a_layer_are_bounded(store: Store) -> None:
    long = entry("a", pax_headers={"comment": "x" * 2_000_000})
    with pytest.raises(ImageUnavailable, match="a header of 20000"):
        await store.unpacked([long])


async def test_what_is_damaged_is_refused(store: Store) -> None:
    layer = layer_of([entry("a", bytes(10_000))])
    layout(store.root / "cut", [layer])
    largest = max((store.root / "cut" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    content = largest.read_bytes()
    made = Layout(store.root / "other")
    config = image_config([HELLO], {})
    described, wrong = made.document(config), made.blob(layer)
    made.index(made.document({"config": described, "layers": [wrong]}))
    with pytest.raises(ImageUnavailable, match="another content than its hash says"):
        await store.images.lease(store.url("other"))
    (store.root / "other" / "blobs" / "sha256" / wrong["digest"].removeprefix("sha256:")).unlink()
    with pytest.raises(ImageUnavailable, match="no layer blobs/sha256"):
        await store.images.lease(store.url("other"))
    largest.write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageUnavailable):
        await store.images.lease(store.url("cut"))
    for name, text in {"empty": None, "broken": "{", "none": '{"manifests": []}'}.items():
        (store.root / name).mkdir()
        if text is not None:
            (store.root / name / "index.json").write_text(text)
        with pytest.raises(ImageUnavailable, match="expected"):
            await store.images.lease(store.url(name))
    (store.root / "file").write_bytes(b"no tar")
    with pytest.raises(ImageUnavailable, match="a file that is not a tar archive"):
        await store.images.lease(store.url("file"))
    assert (store.kept(), store.staged()) == ([], [])


async def test_of_several_images_the_one_of_the_name_and_the_machine(store: Store, tmp_path: Path) -> None:
    made = Layout(tmp_path / "several")
    ref = "org.opencontainers.image.ref.name"
    here = image_config([], {})["architecture"]
    for_here = {"platform": {"architecture": here, "os": "linux"}}
    v1 = made.manifest([layer_of([entry("v1", b"")])], {"Cmd": ["v1"]}, annotations={ref: "v1"}, **for_here)
    v2 = made.manifest([layer_of([entry("v2", b"")])], {"Cmd": ["v2"]}, annotations={ref: "v2"}, **for_here)
    other = made.manifest([HELLO], {}, platform={"architecture": "s390x", "os": "linux"})
    made.index(other, v1, v2)
    images = Images(tmp_path / "data", ImagePlaces(None, {"reg/app:v1": made.path, "reg/app:v3": made.path}))
    assert (await images.lease("reg/app:v1")).config.command == ("v1",)
    with pytest.raises(ImageUnavailable, match="2 images for"):
        await images.lease("reg/app:v3")
    nested = made.document({"manifests": [other, v2]}, "application/vnd.oci.image.index.v1+json")
    made.index(nested)
    assert (await images.lease("reg/app:v3")).config.command == ("v2",)


async def test_only_what_the_server_names_can_be_named(tmp_path: Path) -> None:
    allowed, elsewhere = tmp_path / "allowed", tmp_path / "elsewhere"
    allowed.mkdir()
    layout(elsewhere, [HELLO])
    (allowed / "link").symlink_to(elsewhere)
    images = Images(tmp_path / "data", ImagePlaces(allowed, {"reg/app": elsewhere}))
    assert (await images.lease("reg/app")).root.is_dir()
    assert (await images.lease("reg/app:latest")).root.is_dir()
    for path in (elsewhere, allowed / "link", allowed / ".." / "elsewhere", allowed, "/", "/etc", allowed / "missing"):
        with pytest.raises(ImageUnavailable, match="is not in the server's directory of images"):
            await images.lease(f"file://{path}")
    for reference in ("file://relative", "file://", "file:///%00", "file://host/etc"):
        with pytest.raises(ImageUnavailable, match="is not in the server's directory of images"):
            await images.lease(reference)
    with pytest.raises(ImageUnavailable, match=r'\[images\] "reg/app:v2" = "DIR"'):
        await images.lease("reg/app:v2")
    none = Images(tmp_path / "data", ImagePlaces(None, {}))
    with pytest.raises(ImageUnavailable, match="--image-root DIR"):
        await none.lease(f"file://{elsewhere}")


def test_settings_name_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="image_root is"):
        ImagePlaces(tmp_path / "missing", {})
    with pytest.raises(ConfigurationError, match="images has 'a'"):
        ImagePlaces(None, {"a": tmp_path / "missing"})


async def test_it_is_unpacked_once_and_goes_when_nobody_names_it(store: Store) -> None:
    layout(store.root / "app", [HELLO])
    first, second = await store.images.lease(store.url()), await store.images.lease(store.url())
    inode = first.root.stat().st_ino
    assert second.root.stat().st_ino == inode
    assert await store.images.collect([]) == 0
    first.release()
    first.release()
    store.now += 2 * COLLECT_GRACE_S
    assert await store.images.collect([]) == 0
    second.release()
    assert await store.images.collect([]) == 0
    store.now += 2 * COLLECT_GRACE_S
    assert await store.images.collect([store.url(), "reg/elsewhere"]) == 0
    assert await store.images.collect(["reg/elsewhere"]) == 1
    assert (store.kept(), store.staged()) == ([], [])
    assert (await store.images.lease(store.url())).root.is_dir()


async def test_another_image_at_the_path_takes_its_place(store: Store) -> None:
    layout(store.root / "app", [HELLO])
    before = await store.images.lease(store.url())
    before.release()
    (store.root / "app").rename(store.root / "old")
    layout(store.root / "app", [layer_of([entry("new", b"")])])
    after = await store.images.lease(store.url())
    assert names(after.root) == {"new"}
    after.release()
    store.now += 2 * COLLECT_GRACE_S
    assert await store.images.collect([store.url()]) == 1
    assert store.kept() == [after.root.name]


async def test_what_a_crash_left_is_removed(store: Store) -> None:
    (store.folder / "staging" / "half" / "bin").mkdir(parents=True)
    await store.images.open()
    assert store.staged() == []


# What podman writes behind the frames of a layer: a frame that is skipped.
SKIPPED = b"\x50\x2a\x4d\x18" + (7).to_bytes(4, "little") + b"skipped"


def with_blob(store: Store, name: str, layer: bytes, blob: bytes) -> str:
    """An image of one layer that lies there as `blob`."""
    made = Layout(store.root / name)
    config = made.document(image_config([layer], {"Cmd": ["x"]}))
    made.index(made.document({"config": config, "layers": [made.blob(blob)]}))
    return store.url(name)


async def test_layers_compressed_by_zstd(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_of([entry("a", bytes(range(256)) * 4000), entry("b", b"x")])
    half = len(layer) // 2
    frames = zstd.compress(layer[:half]) + zstd.compress(layer[half:])
    lease = await store.images.lease(with_blob(store, "app", layer, frames + SKIPPED))
    assert (lease.root / "a").read_bytes() == bytes(range(256)) * 4000
    lease.release()
    other = layer_of([entry("other", b"x")])
    compressed = zstd.compress(other)
    for name, blob in {"cut": compressed[: len(compressed) // 2], "more": compressed + b"x" * 64}.items():
        with pytest.raises(ImageUnavailable, match="a layer that cannot be read"):
            await store.images.lease(with_blob(store, name, other, blob))
    monkeypatch.setattr(limits, "IMAGE_UNPACKED_BYTES", 1000)
    monkeypatch.setattr(limits, "IMAGE_ENTRIES", 10)
    bomb = layer_of([entry("device", bytes(3_000_000), type=tarfile.CHRTYPE)])
    with pytest.raises(ImageUnavailable, match="more in its layers"):
        await store.images.lease(with_blob(store, "bomb", bomb, zstd.compress(bomb)))


async def test_a_zstd_frame_may_not_ask_for_any_amount_of_memory(store: Store) -> None:
    layer = layer_of([entry("a", b"x")])
    # A frame with one block as it is, and a window of 2 to the power of 10 + 20.
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([20 << 3]) + (len(layer) << 3 | 1).to_bytes(3, "little") + layer
    with pytest.raises(ImageUnavailable, match="a layer that cannot be read"):
        await store.images.lease(with_blob(store, "app", layer, frame))
    within = frame.replace(bytes([20 << 3]), bytes([17 << 3]), 1)
    lease = await store.images.lease(with_blob(store, "within", layer, within))
    assert (lease.root / "a").read_bytes() == b"x"


async def test_zstd_without_a_decoder_is_refused_with_what_to_do(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, zstd.__name__, None)
    monkeypatch.delattr(sys.modules[zstd.__name__.rpartition(".")[0]], "zstd")
    with pytest.raises(ImageUnavailable, match=r"sesame-fc\[images\].*--dest-compress-format gzip"):
        await store.images.lease(with_blob(store, "app", HELLO, zstd.compress(HELLO)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
async def test_root_keeps_the_owners(store: Store) -> None:
    root = await store.unpacked([folder("a", uid=7, gid=8, mode=0o1777), entry("a/b", b"", uid=9, mode=0o600)])
    found = (root / "a").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (7, 8, 0o1777)
    assert ((root / "a" / "b").stat().st_uid, stat.S_IMODE((root / "a" / "b").stat().st_mode)) == (9, 0o600)
