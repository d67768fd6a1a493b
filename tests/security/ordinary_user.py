"""What the kernel holds for ordinary users alone: root's processes it does not limit.

Run as an ordinary user by tests/sandbox/test_jail_user.py; pytest does not find it by itself.
"""

import json
from pathlib import Path

import pytest
from tests.runtime.conftest import Stage
from tests.support.jails import jail

# Two instances with so many processes each are over the limit of one together.
MANY = 600


@pytest.mark.asyncio
async def test_processes_are_counted_for_each_instance(tmp_path: Path) -> None:
    async with jail(tmp_path, cgroups=False) as driver:
        stage = Stage(driver, "python3.12")
        for _ in range(2):
            # The first has its children still while the second starts and makes its own.
            attacker = await stage.start("attacks", "index.forks", memory_mb=3072)
            assert await attacker.json(json.dumps({"most": MANY}).encode())
