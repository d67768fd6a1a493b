"""Nothing of the whole machine can be set from a sandbox, also where the process is root's on the host.

An ordinary user's jail is that of a root without privileges too, as in a container: the kernel asks only who owns its
files of settings, and not what the process may do.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import Stage
from tests.security.grades import GRADES
from tests.support.interpreters import INTERPRETERS
from tests.support.jails import jail, jail_only

pytestmark = jail_only
SETTINGS = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/vm/drop_caches",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
)


@pytest.mark.skipif("python3.12" not in INTERPRETERS, reason="no interpreter found for python3.12")
@pytest.mark.parametrize("grade", GRADES.values(), ids=GRADES.keys())
async def test_no_setting_of_the_kernel_can_be_opened(tmp_path: Path, grade: dict[str, Any]) -> None:
    async with jail(tmp_path, **grade) as driver:
        stage = Stage(driver, "python3.12")
        instance = await stage.start("attacks", "index.kernel_settings")
        reply = await instance.invoke(json.dumps({"paths": SETTINGS}).encode())
        assert reply.ok
        assert json.loads(reply.payload) == []
        await stage.clear()
