"""Runs the end-to-end tests of the Log Service's Python SDK for logs and compression against one fresh Sesame.

Called by `scripts/sdk-suite sls PATH`; PATH is the root of a checkout of aliyun-log-python-sdk, outside this
repository. Never changes the suite: it works on a copy. Its clients know only names of the cloud, and reach Sesame as
their proxy.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree

from aliyun.log import IndexConfig, IndexKeyConfig, IndexLineConfig, LogClient, LogItem, PutLogsRequest
from sdk_suite import KEY_ID, REGION, SECRET, sesame
from sdk_suite_pytest import SuiteRun, run

TESTS = ("tests/e2e/test_compress_e2e.py", "tests/e2e/logclient/test_get_logs.py")
# The SDK itself is that of the checkout: what is named here brings what it needs.
PACKAGES = ("aliyun-log-python-sdk", "pytest", "pytest-timeout", "responses")
ENDPOINT = f"{REGION}.log.aliyuncs.com"
PROJECT, LOGSTORE = "sesame-sdk-suite", "suite"
LOGS = 250


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="root of a checkout of aliyun-log-python-sdk")
    parser.add_argument("pytest", nargs="*", help="what to run instead of the tests for logs and compression")
    arguments = parser.parse_args()
    if not (arguments.path / TESTS[0]).is_file():
        sys.exit(f"error: {arguments.path} is no checkout of aliyun-log-python-sdk")
    with tempfile.TemporaryDirectory(prefix="sesame-sls-suite-") as folder:
        scratch = Path(folder)
        suite = scratch / "suite"
        shutil.copytree(arguments.path, suite, ignore=shutil.ignore_patterns(".git"))
        with sesame(scratch) as endpoints:
            os.environ["http_proxy"] = endpoints["sls"]
            fill()
            chosen = arguments.pytest or list(TESTS)
            return show(run(SuiteRun(suite, PACKAGES, environment(), chosen, scratch / "report.xml", "short")))


def fill() -> None:
    """The project and the logstore that the tests expect, with an index and some logs."""
    client = LogClient(ENDPOINT, KEY_ID, SECRET)
    client.create_project(PROJECT, "tests of the official client")
    client.create_logstore(PROJECT, LOGSTORE, ttl=7)
    delimiters = list(", '\";=()[]{}?@&<>/:\n\t\r")
    keys = {"method": IndexKeyConfig(delimiters, doc_value=True)}
    client.create_index(PROJECT, LOGSTORE, IndexConfig(line_config=IndexLineConfig(delimiters), key_config_list=keys))
    now = int(time.time())
    items = [LogItem(now - number, contents=[("method", "GET"), ("number", str(number))]) for number in range(LOGS)]
    client.put_logs(PutLogsRequest(PROJECT, LOGSTORE, "suite", "", items))


def environment() -> Mapping[str, str]:
    """As tests/_helpers/env.py and the tests read it."""
    values = {
        "ENDPOINT": ENDPOINT,
        "ACCESS_KEY_ID": KEY_ID,
        "ACCESS_KEY_SECRET": SECRET,
        "PROJECT": PROJECT,
        "LOGSTORE": LOGSTORE,
    }
    return {f"{prefix}_{name}": value for prefix in ("LOG_TEST", "TEST") for name, value in values.items()}


def show(cases: Iterable[ElementTree.Element]) -> int:
    """A line a test; 0 when all have passed."""
    troubled = 0
    for case in cases:
        troubles = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        troubled += bool(troubles)
        print(f"{troubles[0] if troubles else 'passed':8} {case.get('classname')}.{case.get('name')}")
    print(f"{troubled} did not pass" if troubled else "all passed")
    return 1 if troubled else 0


if __name__ == "__main__":
    sys.exit(main())
