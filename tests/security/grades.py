"""The two isolation levels in which attacks are tried, as options of a jail.

Used by the tests of tests/security. Root can make an ordinary user's jail too; what differs then is whose the processes
are on the host, so attacks on the host's own files are tried as nobody, by tests/sandbox/test_jail_user.py.
"""

from typing import Any

from tests.support.jails import ISOLATION

from sesame.sandbox.jail.isolation import Isolation

# As an ordinary user has it on a machine that gives it no cgroups.
USER: dict[str, Any] = {"probe": lambda: Isolation("user"), "cgroups": False}
GRADES: dict[str, dict[str, Any]] = {**({"root": {}} if ISOLATION.kind == "root" else {}), "user": USER}
