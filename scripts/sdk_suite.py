"""Runs an official SDK's own test suite against a fresh Sesame and prints what passed, test by test.

Called by `scripts/sdk-suite NAME PATH`; PATH is the root of a checkout of the SDK, outside this repository.
Never changes the suite: it is given its environment variables and nothing else.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import oss2

READY_TIMEOUT_S = 60.0
SUITE_TIMEOUT_S = 1800.0
STOP_TIMEOUT_S = 15.0
KEY_ID, SECRET = "sdk-suite-key", "sdk-suite-secret-0123456789"
ACCOUNT_ID, REGION = "1234567890123456", "cn-hongkong"
CODE_BUCKET = "sdk-suite-code"
# The suite names a Node.js that no machine has any more; the function is as good under a later one.
NODE, LATER_NODE = "nodejs4.4", "nodejs20"
NODE_PLUGIN = f"""
import fc2

create = fc2.Client.create_function

def create_function(self, *names, **given):
    if given.get("runtime") == "{NODE}":
        given["runtime"] = "{LATER_NODE}"
    return create(self, *names, **given)

fc2.Client.create_function = create_function
"""


@dataclass(frozen=True)
class Suite:
    """What a suite needs: packages beside pytest, its tests' folder, and its environment by the server's endpoints."""

    packages: tuple[str, ...]
    tests: str
    environment: Callable[[dict[str, Any]], Mapping[str, str]]
    # Buckets that its tests name and do not make: a trigger on a bucket that is not there is refused.
    buckets: tuple[str, ...]
    # Tests that need what nobody can run here, each with the reason; they would leave behind what fails others.
    left_out: Mapping[str, str]


def fc_python(endpoints: dict[str, Any]) -> Mapping[str, str]:
    """fc-python-sdk (reference/api.md §6.1): ids of a VPC, a NAS and the like are only kept and given back."""
    role = f"acs:ram::{ACCOUNT_ID}:role/aliyunfcdefaultrole"
    return {
        "ENDPOINT": endpoints["fc"],
        "CODE_BUCKET": CODE_BUCKET,
        "INVOCATION_ROLE": role,
        "INVOCATION_ROLE_SLS": role,
        "STS_ROLE": role,
        "VPC_ROLE": role,
        "LOG_PROJECT": "sdk-suite-project",
        "LOG_STORE": "sdk-suite-store",
        "VPC_ID": "vpc-sdk-suite",
        "VSWITCH_IDS": "vsw-sdk-suite",
        "SECURITY_GROUP_ID": "sg-sdk-suite",
        "USER_ID": "10003",
        "GROUP_ID": "10003",
        "NAS_SERVER_ADDR": "sdk-suite.cn-hongkong.nas.aliyuncs.com:/",
        "NAS_MOUNT_DIR": "/mnt/sdk-suite",
        "JAEGER_ENDPOINT": "http://tracing.invalid/api/traces",
    }


SUITES = {
    "python": Suite(
        ("requests", "websocket-client", "aliyun-python-sdk-core", "aliyun-python-sdk-sts"),
        "test",
        fc_python,
        (CODE_BUCKET,),
        {
            "test/function_test.py::TestFunction::test_sts": "asks the public STS at a fixed name",
        },
    ),
}


def main(arguments: list[str]) -> int:
    if len(arguments) < 2 or arguments[0] not in SUITES:
        print(f"usage: scripts/sdk-suite {{{','.join(SUITES)}}} PATH [pytest arguments]", file=sys.stderr)
        return 2
    suite, root = SUITES[arguments[0]], Path(arguments[1]).resolve()
    if not (root / suite.tests).is_dir():
        print(f"error: {root} has no folder {suite.tests}/: give the root of the SDK's checkout", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="sesame-sdk-suite-") as scratch:
        with sesame(Path(scratch)) as endpoints:
            for test, reason in suite.left_out.items():
                print(f"left out  {test}: {reason}")
            for bucket in suite.buckets:
                oss2.Bucket(oss2.Auth(KEY_ID, SECRET), endpoints["oss"], bucket).create_bucket()
            return show(run(suite, root, endpoints, Path(scratch), arguments[2:]))


@contextlib.contextmanager
def sesame(scratch: Path) -> Iterator[dict[str, Any]]:
    """A Sesame of its own, on free ports, with its data in `scratch`; gives its endpoints."""
    data_dir, log = scratch / "data", scratch / "sesame.log"
    command = [sys.executable, "-m", "sesame", "start", "--data-dir", str(data_dir)]
    command += ["--port", "0", "--oss-port", "0"]
    command += ["--account-id", ACCOUNT_ID, "--region", REGION]
    command += ["--access-key-id", KEY_ID, "--access-key-secret", SECRET]
    with log.open("wb") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        ready, deadline = data_dir / "endpoints.json", time.monotonic() + READY_TIMEOUT_S
        while not ready.exists():
            if child.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"error: sesame start did not come up; it said:\n{log.read_text(errors='replace')}")
            time.sleep(0.05)
        yield json.loads(ready.read_text())
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def run(suite: Suite, root: Path, endpoints: dict[str, Any], scratch: Path, extra: list[str]) -> Path:
    """Runs the suite under pytest, in an environment of its own that uv makes; gives the report's path."""
    report = scratch / "report.xml"
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        sys.exit("error: uv was not found: run `make install`")
    command = [uv, "run", "--no-project", "--isolated", "--quiet", "--python", sys.executable]
    for package in ("pytest", *suite.packages):
        command += ["--with", package]
    (scratch / "later_node.py").write_text(NODE_PLUGIN)
    command += [
        "python",
        "-m",
        "pytest",
        "-p",
        "later_node",
        "-c",
        os.devnull,
        "--rootdir",
        str(root),
        "-p",
        "no:cacheprovider",
        "-q",
    ]
    command += ["--tb", "native", "-o", "junit_logging=no", f"--junitxml={report}", *(extra or [suite.tests])]
    for test in suite.left_out:
        command += ["--deselect", test]
    environment = {
        **os.environ,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(scratch),
        "ACCESS_KEY_ID": KEY_ID,
        "ACCESS_KEY_SECRET": SECRET,
        "ACCOUNT_ID": ACCOUNT_ID,
        "REGION": REGION,
        **suite.environment(endpoints),
    }
    environment.pop("VIRTUAL_ENV", None)
    subprocess.run(command, cwd=root, env=environment, timeout=SUITE_TIMEOUT_S, check=False)
    if not report.exists():
        sys.exit("error: the suite did not run; see above")
    return report


def show(report: Path) -> int:
    """One line a test, then the sum; 0 when all passed. A test whose clean-up failed has failed."""
    troubles: dict[str, ElementTree.Element | None] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        found = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        troubles[name] = troubles.get(name) if found is None else found
    print()
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for name, trouble in troubles.items():
        if trouble is None:
            outcome, reason = "passed", ""
        else:
            outcome = "skipped" if trouble.tag == "skipped" else "failed"
            reason = ": " + (trouble.get("message") or trouble.text or "").strip().partition("\n")[0][:160]
        counts[outcome] += 1
        print(f"{outcome:7} {name}{reason}")
    print(f"\n{counts['passed']} of {len(troubles)} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
