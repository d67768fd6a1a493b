"""A whole Sesame whose records are in PostgreSQL, called with the official SDK while the server goes and comes back.

Run by pytest.
"""

from pathlib import Path

import fc2
import pytest
from tests.journeys.conftest import FUNCTIONS, Sesame, running, wait_until
from tests.support.postgresql import own_server

RUNTIME = "python3"
HELLO = str(FUNCTIONS / "journey_hello")


def made(client: fc2.Client, name: str) -> bool:
    try:
        client.create_service(name)
    except fc2.FcError as error:
        if error.status_code >= 500:
            return False
        raise
    return True


@pytest.mark.thorough
def test_calls_go_on_changes_are_refused_and_everything_is_there_afterwards(tmp_path: Path) -> None:
    with own_server() as server:
        server.sql("CREATE DATABASE journey")
        elsewhere = ("--database", server.url("journey"))
        with running(tmp_path, *elsewhere, runtime=RUNTIME) as sesame:
            client = sesame.client()
            client.create_service("s")
            client.create_function("s", "f", RUNTIME, "index.my_handler", codeDir=HELLO)
            before = client.invoke_function("s", "f").data
            server.kill()
            for _ in range(2):
                with pytest.raises(fc2.FcError) as refused:
                    client.create_service("gone")
                assert refused.value.status_code == 500
                assert refused.value.err_code == "InternalServerError"
                assert "postgresql" not in str(refused.value.message)
            assert client.invoke_function("s", "f").data == before
            server.start()
            wait_until(lambda: made(client, "back"), "the database", 30)
            names = [service["serviceName"] for service in client.list_services().data["services"]]
            assert names == ["back", "s"]
            sesame.kill()
        again = Sesame(tmp_path, *elsewhere, runtime=RUNTIME)
        again.start()
        try:
            assert again.client().invoke_function("s", "f").data == before
            assert not (tmp_path / "data" / "sesame.db").exists()
        finally:
            again.stop()
