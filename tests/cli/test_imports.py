"""What commands import: little, as people and shells wait for it."""

import pytest
from tests.support.imports import imported_with

# Each takes longer than all that is needed.
HEAVY = {"rich", "yaml", "psutil", "tomllib", "structlog", "asyncio", "sqlalchemy", "uvloop", "sesame.app"}


@pytest.mark.parametrize("module", ["main", "invoke"])
def test_a_command_line_is_completed_without_heavy_modules(module: str) -> None:
    assert imported_with(f"sesame.cli.{module}") & HEAVY == set()


def test_deploying_imports_nothing_that_reads_libraries_before_there_are_some() -> None:
    assert imported_with("sesame.cli.deploy") & {"elftools", "packaging", "pathspec", "pdb"} == set()


# What answers DNS, speaks websockets and protobuf, makes certificates, and the other database.
RARELY_USED = {"dns", "websockets", "google.protobuf", "cryptography.x509", "sqlalchemy.dialects.postgresql"}


@pytest.mark.parametrize("module", ["sesame.app", "sesame.testing.serving"])
def test_a_server_starts_without_what_few_servers_use(module: str) -> None:
    assert imported_with(module) & RARELY_USED == set()


def test_agents_of_one_machine_start_without_what_several_machines_need() -> None:
    several = {
        "sesame.cluster",
        "sesame._node",
        "sesame._shared_logs",
        "sesame._tunnels",
        "sesame.on_ray",
        "sesame.store.logs.logstores.shared_groups",
        "sesame.store.logs.shared.objects",
        "sesame.store.sql.leadership",
        "ray",
    }
    assert imported_with("sesame.cli.start, sesame.cli.agents") & several == set()


def test_a_server_starts_without_what_only_traces_and_queries_of_logs_need() -> None:
    assert imported_with("sesame.cli.start") & {"opentelemetry", "duckdb", "sqlglot", "lark"} == set()
