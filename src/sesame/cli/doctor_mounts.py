"""`sesame doctor` on NAS and buckets: which directories replace NAS servers, and what can be mounted here."""

from collections.abc import Iterator
from pathlib import Path

from sesame.cli.finding import BAD, GOOD, POOR, Finding
from sesame.sandbox.interface import SandboxDriver
from sesame.settings import Settings

PLAIN = "plain"


def mounts(settings: Settings, nas: Path, driver: str) -> Iterator[Finding]:
    """`nas` is the data directory's default folder; `driver` is the name of the sandbox driver used here."""
    if driver == PLAIN:
        yield Finding(
            POOR,
            "NAS: the sandbox plain mounts nothing",
            "a function with a nasConfig needs --sandbox jail, or a link at its mountDir",
        )
    places = [("NAS: servers without a line in [mounts]", nas)]
    places += [(f"NAS: {name}", directory) for name, directory in settings.mounts.items()]
    for what, directory in places:
        if directory != nas and not directory.is_dir():
            yield Finding(BAD, f"{what}: {directory} is no directory", "make it, or change [mounts] in sesame.toml")
            continue
        existing = next(path for path in (directory, *directory.parents) if path.exists())
        problem = "" if driver == PLAIN else _problem(existing)
        if problem:
            yield Finding(
                POOR, f"{what}: {directory} cannot be mounted: {problem}", "use a directory on ext4, XFS or Btrfs"
            )
        else:
            yield Finding(GOOD, f"{what}: {directory}")


def buckets(driver: SandboxDriver) -> Finding:
    """`driver` has been opened."""
    if problem := driver.no_buckets:
        return Finding(POOR, f"OSS: an ossMountConfig is refused: {problem}")
    return Finding(GOOD, "OSS: an ossMountConfig mounts a bucket, by FUSE")


def _problem(directory: Path) -> str:
    # Imported late: like the jail, it requires Linux.
    from sesame.sandbox.jail.volumes import why_not_mounted

    return why_not_mounted(directory)
