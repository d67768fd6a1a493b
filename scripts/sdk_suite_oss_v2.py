"""Runs the integration tests of the OSS SDK V2 against one fresh Sesame; prints what passed, and why the rest failed.

Called by `scripts/sdk-suite oss2-v2 PATH`; PATH is the root of a checkout of alibabacloud-oss-python-sdk-v2, outside
this repository. Never changes the suite: it works on a copy, which gets its environment and, for each test, a seed.
"""

import argparse
import re
import shutil
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from sdk_suite import ACCOUNT_ID, KEY_ID, REGION, SECRET, sesame
from sdk_suite_pytest import SuiteRun, run

TESTS = "tests/integration"
PACKAGES = ("aiohttp", "crcmod-plus", "pycryptodome", "pytest", "pytest-timeout", "requests")
REASON_CHARS_MAX = 100

Outcomes = dict[str, str]
"""Why a test failed, "" when it passed, by `<file>::<class>.<name>`."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="root of a checkout of alibabacloud-oss-python-sdk-v2")
    parser.add_argument("pytest", nargs="*", help=f"what to run instead of all of {TESTS}/")
    arguments = parser.parse_args()
    if not (arguments.path / TESTS / "test_client.py").is_file():
        sys.exit(f"error: {arguments.path} is no checkout of alibabacloud-oss-python-sdk-v2")
    with tempfile.TemporaryDirectory(prefix="sesame-oss-v2-suite-") as folder:
        scratch = Path(folder)
        suite = scratch / "suite"
        shutil.copytree(arguments.path, suite, ignore=shutil.ignore_patterns(".git"))
        with sesame(scratch) as endpoints:
            variables, chosen = environment(endpoints["oss"]), arguments.pytest or [TESTS]
            show(outcomes(run(SuiteRun(suite, PACKAGES, variables, chosen, scratch / "report.xml", "native"))))
    return 0


def environment(endpoint: str) -> Mapping[str, str]:
    """As tests/integration/__init__.py reads it; vector buckets and tables have no other endpoint here."""
    return {
        "OSS_TEST_ACCESS_KEY_ID": KEY_ID,
        "OSS_TEST_ACCESS_KEY_SECRET": SECRET,
        "OSS_TEST_ENDPOINT": endpoint,
        "OSS_TEST_VECTORS_ENDPOINT": endpoint,
        "OSS_TEST_REGION": REGION,
        "OSS_TEST_USER_ID": ACCOUNT_ID,
        "OSS_TEST_RAM_ROLE_ARN": f"acs:ram::{ACCOUNT_ID}:role/aliyunfcdefaultrole",
        # Its dates are compared in China's time.
        "TZ": "Asia/Shanghai",
    }


def outcomes(cases: Iterable[ElementTree.Element]) -> Outcomes:
    """A test whose clean-up failed has failed."""
    found: Outcomes = {}
    for case in cases:
        name = f"{case.get('classname')}.{case.get('name')}".removeprefix("tests.integration.")
        module, _, name = name.rpartition(".Test")
        test = f"{module}::Test{name}"
        troubles = [child for child in case if child.tag in ("failure", "error", "skipped")]
        found[test] = reason(troubles[0]) if troubles else found.get(test, "")
    return found


def reason(trouble: ElementTree.Element) -> str:
    """In a few words: the operation and the code that it was refused with, else the last line of what went wrong."""
    text = f"{trouble.get('message') or ''}\n{trouble.text or ''}"
    operation, code = re.search(r"operation error (\w+)", text), re.search(r"Error Code: (\w+)", text)
    if operation and code:
        return f"{operation[1]}: {code[1]}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:REASON_CHARS_MAX] if lines else trouble.tag


def show(found: Outcomes) -> None:
    """A line for each reason with its tests, then one for each file: passed of all."""
    total, passed = Counter[str](), Counter[str]()
    for test, trouble in found.items():
        file = test.partition("::")[0]
        total[file] += 1
        passed[file] += not trouble
    print("failed, by reason:")
    for trouble, count in Counter(trouble for trouble in found.values() if trouble).most_common():
        print(f"  {count:3} {trouble}")
        for test in sorted(test for test, why in found.items() if why == trouble):
            print(f"        {test}")
    print("\npassed of all, by file:")
    for file in sorted(total):
        print(f"  {file:64} {passed[file]:4} of {total[file]:4}")
    print(f"  {'all':64} {passed.total():4} of {total.total():4}")


if __name__ == "__main__":
    sys.exit(main())
