"""Writes the tables of operations in docs/compatibility.md: which there are, where, in which state, tested where.

Run by hand as `python scripts/compatibility.py` after a change of a version's table; `--check` says whether that is
needed.
Never judges by itself: states stand in this file, tests are found by the paths that they name.
"""

import re
import sys
from pathlib import Path

from sesame.fc.api_version import ApiVersion
from sesame.fc.app import VERSIONS
from sesame.fc.operations import OWN_PREFIX, Operation

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "compatibility.md"
# By version: where its operations are called.
TESTS = {
    "2016-08-15": (
        "tests/fc/test_sdk.py",
        "tests/fc/test_sdk_resources.py",
        "tests/fc/test_http_functions.py",
        "tests/journeys/test_exec.py",
        "tests/fc/test_async_invocations.py",
        "tests/fc/test_triggers_command.py",
        "tests/fc/test_recordings.py",
    ),
    "2021-04-06": ("tests/fc/test_sdk_2021.py", "tests/fc/test_exec.py"),
    "2023-03-30": ("tests/fc/test_sdk_2023.py", "tests/fc/test_exec.py"),
}
BEGIN, END = "<!-- operations: begin -->", "<!-- operations: end -->"
SERVED = "served"
# What is answered, but does not have the effect that it has in the cloud.
STATES = {
    "CreateTrigger": "`http`, `timer`, `oss` and `log` fire; `mns_topic`, `tablestore`, `cdn_events`, `rds` and "
    "`eventbridge` are kept and do not fire, as the server's log and `sesame triggers list` say "
    "([triggers.md](triggers.md))",
    "CreateCustomDomain": "served, over HTTPS with `--https-port`",
    "CreateVpcBinding": "kept; nothing is connected",
    "PutLayerACL": "kept; there are no other accounts",
    "ListReservedCapacities": "always empty",
    "RegisterEventSource": "kept; nothing is connected",
    "ClaimGPUInstance": "refused: there are no GPU instances",
    "ReleaseGPUInstance": "refused: there are none",
}
# How the official SDK calls what the API names otherwise.
SDK_NAMES = {
    "GetAccountSettings": "get_account_settings",
    "ListOnDemandConfigs": "list_on_demand_config",
    "PutFunctionOnDemandConfig": "put_on_demand_config",
    "GetFunctionOnDemandConfig": "get_on_demand_config",
    "DeleteFunctionOnDemandConfig": "delete_on_demand_config",
}


def table(version: ApiVersion) -> str:
    """A version's table as Markdown, without a newline at its end."""
    texts = {path: (ROOT / path).read_text() for path in TESTS[version.name]}
    own = any(each.own for each in version.operations)
    beside = f"; those that begin with `{OWN_PREFIX}` are no part of the API" if own else ""
    rows = [
        f"### {version.name}",
        "",
        f"Paths are below `/{version.name}`{beside}.",
        "",
        "| operation | method and path | state | test |",
        "|---|---|---|---|",
    ]
    for each in version.operations:
        tested = next((f"`{path}`" for path, text in texts.items() if _names(text, each)), "none")
        path = each.route if each.own else each.path
        rows.append(f"| {each.name} | {each.method} `{path}` | {STATES.get(each.name, SERVED)} | {tested} |")
    return "\n".join(rows)


def page() -> str:
    """The page as it should be."""
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"error: {PAGE} has no lines {BEGIN} and {END}")
    tables = "\n\n".join(map(table, VERSIONS))
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


def _names(text: str, operation: Operation) -> bool:
    """Whether a test calls the operation, by the SDK's method or by method and path."""
    snake = SDK_NAMES.get(operation.name) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation.name).lower()
    if f'"{snake}"' in text or f'"{operation.name}"' in text:
        return True
    path = re.sub(r"{[^}]*}", r'[^"/]+', operation.path)
    return re.search(rf'"{operation.method}", f?"(?:{operation.prefix})?{path}"', text) is not None


if __name__ == "__main__":
    wanted = page()
    if "--check" in sys.argv[1:]:
        sys.exit(0 if wanted == PAGE.read_text() else "error: run `python scripts/compatibility.py`")
    PAGE.write_text(wanted)
