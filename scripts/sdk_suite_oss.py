"""Runs oss2's own tests against a fresh Sesame and prints, file by file, what passed and how much of it needs a server.

Called by `scripts/sdk-suite oss2 PATH`; PATH is the root of a checkout of aliyun-oss-python-sdk, outside this
repository. Never changes the suite: it works on a copy, which gets its environment and, for each test, a fixed seed.
"""

import argparse
import shutil
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from sdk_suite import ACCOUNT_ID, KEY_ID, REGION, SECRET, sesame
from sdk_suite_pytest import SuiteRun, run

# No server listens there: tests that pass all the same need none.
NOWHERE = "http://127.0.0.1:9"
PACKAGES = (
    "aliyun-python-sdk-core",
    "aliyun-python-sdk-kms",
    "aliyun-python-sdk-sts",
    "crcmod",
    "mock",
    "pycryptodome",
    "pytest",
    "pytest-timeout",
    "requests",
    "six",
)

Outcomes = dict[str, bool]
"""Whether a test passed, by `<file>::<name>`."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="root of a checkout of aliyun-oss-python-sdk")
    parser.add_argument("--auth", choices=("v1", "v2", "v4"), default="v1", help="signature version (default: v1)")
    parser.add_argument("pytest", nargs="*", help="what to run instead of all of tests/")
    arguments = parser.parse_args()
    if not (arguments.path / "tests" / "common.py").is_file():
        sys.exit(f"error: {arguments.path} is no checkout of aliyun-oss-python-sdk")
    with tempfile.TemporaryDirectory(prefix="sesame-oss-suite-") as folder:
        scratch = Path(folder)
        suite = scratch / "suite"
        shutil.copytree(arguments.path, suite, ignore=shutil.ignore_patterns(".git"))
        chosen = arguments.pytest or ["tests"]

        def tried(endpoint: str, report: str) -> Outcomes:
            variables = environment(endpoint, arguments.auth)
            return outcomes(run(SuiteRun(suite, PACKAGES, variables, chosen, scratch / report, "line")))

        alone = tried(NOWHERE, "alone.xml")
        with sesame(scratch) as endpoints:
            served = tried(endpoints["oss"], "served.xml")
    show(alone, served)
    return 0


def environment(endpoint: str, auth: str) -> Mapping[str, str]:
    """As tests/common.py reads it (reference/companions.md §6)."""
    return {
        "OSS_TEST_ACCESS_KEY_ID": KEY_ID,
        "OSS_TEST_ACCESS_KEY_SECRET": SECRET,
        "OSS_TEST_ENDPOINT": endpoint,
        "OSS_TEST_BUCKET": "sesame-suite-",
        "OSS_TEST_REGION": REGION,
        "OSS_TEST_AUTH_VERSION": auth,
        "OSS_TEST_UID": ACCOUNT_ID,
    }


def outcomes(cases: Iterable[ElementTree.Element]) -> Outcomes:
    """A test whose clean-up failed has failed."""
    found: Outcomes = {}
    for case in cases:
        file = (case.get("classname") or "").split(".")[1]
        name = f"{file}::{case.get('classname')}.{case.get('name')}"
        passed = not any(child.tag in ("failure", "error", "skipped") for child in case)
        found[name] = found.get(name, True) and passed
    return found


def show(alone: Outcomes, served: Outcomes) -> None:
    """A line a file: passed of all, and how many of these need a server."""
    total, passed, needing = Counter[str](), Counter[str](), Counter[str]()
    for name, good in served.items():
        file = name.partition("::")[0]
        total[file] += 1
        passed[file] += good
        needing[file] += good and not alone.get(name, False)
    print("\nfailed:")
    print("\n".join(f"  {name}" for name, good in sorted(served.items()) if not good) or "  none")
    print("\npassed of all (of these with a server only), by file:")
    for file in sorted(total):
        print(f"  {file:44} {passed[file]:4} of {total[file]:4}  ({needing[file]})")
    print(f"  {'all':44} {passed.total():4} of {total.total():4}  ({needing.total()})")


if __name__ == "__main__":
    sys.exit(main())
