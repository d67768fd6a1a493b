"""Obtains CPython 2.7 and 3.6 from a conda channel: archives are verified by SHA-256 and linked by py-rattler.

Used by `obtain.obtain` and `sesame runtimes lock`. py-rattler is in the extra `runtimes`. An interpreter that is
already on the disk needs no network.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS
from sesame.sandbox.runtimes.obtain import installed, lock
from sesame.sandbox.runtimes.obtain.downloads import Downloads, Wanted
from sesame.sandbox.runtimes.obtain.lock import Entry, LockedPackage
from sesame.sandbox.runtimes.staging import staged

PUBLIC_CHANNEL = "https://conda.anaconda.org/conda-forge"
FOLDER = "conda"
RECORDED = "conda.lock.json"
RECORDED_NOTE = "What sesame runtimes get took from the channel where the committed lock has no digests."
# What the solver assumes about a machine: the oldest C library and macOS that Sesame itself supports.
_VIRTUAL: Mapping[str, tuple[tuple[str, str], ...]] = {
    "linux-64": (("__unix", "0"), ("__linux", "4.18"), ("__glibc", "2.17")),
    "linux-aarch64": (("__unix", "0"), ("__linux", "4.18"), ("__glibc", "2.17")),
    "osx-64": (("__unix", "0"), ("__osx", "10.13")),
}

Progress = Callable[[str], None]


class Source(msgspec.Struct, frozen=True):
    """The channel's URL (https:// or file://), and a proxy's URL; None uses the environment's proxies."""

    channel: str = PUBLIC_CHANNEL
    proxy: str | None = None


class CondaInterpreters:
    """The interpreters obtained from a channel, below `own`, the directory of all obtained interpreters."""

    def __init__(self, own: Path, source: Source, committed: Path = lock.COMMITTED) -> None:
        self._own = own
        self._source = source
        self._committed = committed

    def get(self, runtime: str, progress: Progress) -> Path:
        """Installs the runtime's interpreter if it is missing. Returns its directory. Raises `ConfigurationError`."""
        entry = self._entry(runtime)
        final = self._own / FOLDER / f"cpython-{entry.python}-{entry.platform}"
        if installed.is_complete(final):
            return final
        if not entry.has_digests:
            entry = self._resolved(entry, progress)
        archives = self._download(entry, progress)
        progress(f"installing {entry.named()} …")
        with staged(final, keep=installed.is_complete) as staging:
            _link(entry, archives, staging, final)
            installed.finish(
                staging,
                installed.Manifest(runtime, entry.python, entry.platform, self._source.channel, str(final)),
            )
        return final

    def _entry(self, runtime: str) -> Entry:
        on = lock.this_platform()
        entry = lock.read(self._committed).entry(runtime, on)
        if entry is None:
            raise ConfigurationError(
                f"{runtime}: there is no build of CPython {'.'.join(map(str, MINOR_VERSIONS[runtime]))} for this "
                f"platform; there are some for {', '.join(lock.PLATFORMS)}"
            )
        if not entry.has_digests and (recorded := self._own / RECORDED).exists():
            before = lock.read(recorded).entry(runtime, on)
            return before if before and (before.python, before.build or entry.build) == _pin(entry, before) else entry
        return entry

    def _resolved(self, entry: Entry, progress: Progress) -> Entry:
        """The entry with the digests that the channel lists now, which are recorded for next time."""
        progress(
            f"the lock has no digests of {entry.named()} for {entry.platform}: taking those that "
            f"{self._source.channel} names now, and recording them"
        )
        with _proxied(self._source.proxy):
            found = resolve(entry, self._source.channel, self._own / "cache")
        self._own.mkdir(parents=True, exist_ok=True)
        path = self._own / RECORDED
        known = lock.read(path) if path.exists() else lock.Lock(note=RECORDED_NOTE, entries=())
        lock.write(lock.merged(known, [found]), path)
        return found

    def _download(self, entry: Entry, progress: Progress) -> list[Path]:
        downloads = Downloads(self._own / "downloads", self._source.proxy)
        paths = []
        for number, package in enumerate(entry.packages, 1):
            url = f"{self._source.channel.rstrip('/')}/{package.subdir}/{package.file_name}"
            progress(f"archive {number} of {len(entry.packages)}: {package.file_name} ({package.size / 1e6:.1f} MB)")
            paths.append(downloads.get(Wanted(url, package.sha256, package.size), progress))
        return paths


def resolve(entry: Entry, channel: str, cache: Path) -> Entry:
    """The entry with every package that its interpreter needs, and the digests from the channel's index."""
    rattler = _rattler()

    async def solve() -> Any:
        return await rattler.solve(
            sources=[rattler.Channel(channel)],
            specs=[f"python =={entry.python} {entry.build}".rstrip()],
            gateway=rattler.Gateway(cache_dir=cache / "repodata"),
            platforms=[entry.platform, "noarch"],
            virtual_packages=[
                rattler.GenericVirtualPackage(
                    rattler.PackageName(name), rattler.Version(version), rattler.BuildString("0")
                )
                for name, version in _VIRTUAL[entry.platform]
            ],
        )

    try:
        records = asyncio.run(solve())
    except Exception as error:
        raise ConfigurationError(f"the channel {channel} cannot be used: {_last_cause(error)}") from error
    packages = tuple(_locked(record) for record in records)
    python = next(package for package in packages if package.name == "python")
    return msgspec.structs.replace(entry, build=python.build, packages=packages)


def _locked(record: Any) -> LockedPackage:
    if record.sha256 is None or record.size is None:
        raise ConfigurationError(f"the channel's index gives no SHA-256 of {record.file_name}, so it cannot be used")
    return LockedPackage(
        name=record.name.normalized,
        version=str(record.version),
        build=str(record.build),
        build_number=record.build_number,
        subdir=record.subdir,
        file_name=record.file_name,
        sha256=record.sha256.hex(),
        size=record.size,
    )


def _link(entry: Entry, archives: Sequence[Path], staging: Path, final: Path) -> None:
    """Unpacks the archives into `staging`, with `final` as the prefix in their files."""
    rattler = _rattler()
    records = [
        rattler.RepoDataRecord(
            rattler.PackageRecord(
                package.name, package.version, rattler.BuildString.new_unchecked(package.build), package.build_number,
                package.subdir, sha256=bytes.fromhex(package.sha256),
            ),
            package.file_name, archive.as_uri(), archive.parent.as_uri(),
        )
        for package, archive in zip(entry.packages, archives, strict=True)
    ]  # fmt: skip
    cache = staging.with_name(f"{staging.name}.cache")
    try:
        asyncio.run(
            rattler.install(
                records, staging, cache_dir=cache, show_progress=False, execute_link_scripts=False,
                platform=rattler.Subdir(entry.platform), alternative_target_prefix=str(final),
            )
        )  # fmt: skip
    except Exception as error:
        raise ConfigurationError(f"{entry.named()} cannot be unpacked: {_last_cause(error)}") from error
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def unresolved(runtimes: Iterable[str]) -> Iterator[Entry]:
    """The committed pins of these runtimes on every platform, without their packages."""
    known = lock.read()
    for runtime in runtimes:
        for on in lock.PLATFORMS:
            if entry := known.entry(runtime, on):
                yield msgspec.structs.replace(entry, packages=())


def _pin(entry: Entry, before: Entry) -> tuple[str, str]:
    return entry.python, entry.build or before.build


def _rattler() -> Any:
    try:
        import rattler  # an extra, and 80 MB: only what brings interpreters needs it
    except ImportError as error:
        raise ConfigurationError(
            "py-rattler, which installs CPython 2.7 and 3.6, is missing: pip install 'sesame-fc[runtimes]'"
        ) from error
    return rattler


def _last_cause(error: Exception) -> str:
    lines = [line.removeprefix("Caused by:").strip() for line in str(error).splitlines() if line.strip()]
    return f"{lines[0]}: {lines[-1]}" if len(lines) > 1 else str(error) or type(error).__name__


@contextmanager
def _proxied(proxy: str | None) -> Iterator[None]:
    """Sets the proxy in the environment, the only place where py-rattler looks for it."""
    names = ("HTTPS_PROXY", "HTTP_PROXY")
    before = {name: os.environ.get(name) for name in names}
    if proxy:
        os.environ.update(dict.fromkeys(names, proxy))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
