"""The jail of an ordinary user, when the tests themselves run as root: the same tests again, as nobody."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from tests.support.jails import buckets_only, jail_only, root_only
from tests.support.outside import GIVEN, needs_outside, outside

pytestmark = [
    jail_only,
    root_only,
    pytest.mark.skipif(not Path("/usr/bin/setpriv").exists(), reason="needs setpriv"),
]

ROOT = Path(__file__).parents[2]
WALLS = "tests/security/test_walls.py"
JAIL, MOST = "tests/sandbox/test_jail.py", "processes_are_limited"
IMAGES, ROOT_OF_ITS_OWN = "tests/sandbox/test_jail_images.py", "its_root_is"
# Not what runs the same code below the driver: the contract is held once for each driver, not for each isolation.
# Of the attacks one for each set of walls, which are those from the oldest runtime; the others by `make torture`.
TESTS = {
    JAIL: f"python3.12 and not {MOST}",
    "tests/sandbox/test_jail_death.py": "gone",
    "tests/sandbox/test_jail_volumes.py": "python3.12",
    "tests/sandbox/test_jail_network.py": "python3.12",
    IMAGES: f"user and {ROOT_OF_ITS_OWN}",
    WALLS: "test_the_attack_fails and python2.7",
    "tests/security/ordinary_user.py": "test",
}
# What takes longer, by `make test-all`.
LATER = {
    JAIL: f"{MOST} and python3.12 or not python",
    IMAGES: f"user and not {ROOT_OF_ITS_OWN}",
    "tests/security/test_custom_walls.py": "image-user and (opens_sysctl or forks or threads)",
}
WAY_OUT = "tests/security/test_way_out.py"
FILES, FAILURES = "tests/journeys/test_bucket_files.py", "tests/journeys/test_bucket_failures.py"
BUCKETS = {
    FILES: "python3.12 and (become_objects or any_place or inherits)",
    FAILURES: "killed or role_decides or nothing_is_left",
}
# As most systems have it; in a mount namespace of its own.
OPEN_FUSE = """
    mount --make-rprivate /
    place=$(mktemp -d)
    mount -t tmpfs -o mode=755 none "$place"
    mknod -m 666 "$place/fuse" c 10 229
    mount --bind "$place/fuse" /dev/fuse
    umount --lazy "$place"
    rmdir "$place"
    exec "$@"
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, as it becomes part of the names of sockets, and open to everybody."""
    with tempfile.TemporaryDirectory(prefix="nobody-") as made:
        Path(made).chmod(0o777)
        yield Path(made)


@pytest.mark.thorough
def test_as_nobody(folder: Path) -> None:
    """In one run, as each imports everything."""
    as_nobody(TESTS, folder)


@pytest.mark.thorough
def test_more_as_nobody(folder: Path) -> None:
    as_nobody(LATER, folder)


@pytest.mark.torture
def test_every_attack_as_nobody(folder: Path) -> None:
    as_nobody({WALLS: "test_the_attack_fails and python3.12"}, folder)


@needs_outside
def test_the_way_out_as_nobody(folder: Path) -> None:
    with outside() as made:
        as_nobody({WAY_OUT: "python3.12"}, folder, {GIVEN: msgspec.json.encode(made).decode()})


@pytest.mark.thorough
@buckets_only
@pytest.mark.parametrize("file", [FILES, pytest.param(FAILURES, marks=pytest.mark.thorough)])
def test_buckets_as_nobody(file: str, folder: Path) -> None:
    as_nobody({file: BUCKETS[file]}, folder, before=("unshare", "--mount", "sh", "-eu", "-c", OPEN_FUSE, "sh"))


def as_nobody(
    tests: Mapping[str, str], folder: Path, more: Mapping[str, str] | None = None, before: Sequence[str] = ()
) -> None:
    """What is chosen of each file; at least one test of each must pass."""
    chosen = " or ".join(f"({Path(file).name} and ({what}))" for file, what in tests.items())
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-rp", "-p", "no:cacheprovider", *tests, "-k", chosen]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "CI"))}
    environment |= more or {}
    done = subprocess.run(
        [*before, ROOT / "scripts" / "as-nobody", *command, "--basetemp", folder / "run"],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    passed = set(re.findall(r"^PASSED ([^:]+)::", done.stdout, re.MULTILINE))
    assert passed == set(tests)
