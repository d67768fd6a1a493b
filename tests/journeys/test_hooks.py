"""PreFreeze and PreStop in real instances: when they run, and what of them is in the log."""

import json

import fc2
import pytest
from tests.journeys.conftest import FUNCTIONS, RUNTIMES, Sesame, newest, wait_until
from tests.support import command_line

CODE = str(FUNCTIONS / "journey_hooks")
HOOKS = {
    "preFreeze": {"handler": "index.pre_freeze", "timeout": 5},
    "preStop": {"handler": "index.pre_stop", "timeout": 5},
}


def logs_of(sesame: Sesame, service: str) -> str:
    return command_line.sesame("logs", f"{service}/f", "--data-dir", sesame.data_dir, expect=None).stdout


@pytest.mark.parametrize("runtime", newest(RUNTIMES[1:]))
def test_an_instance_is_told_before_it_freezes_and_before_it_goes(
    sesame: Sesame, client: fc2.Client, service: str, runtime: str
) -> None:
    client.create_function(service, "f", runtime, "index.my_handler", codeDir=CODE, timeout=20)
    # The SDK has no word for them.
    changed = sesame.api()("PUT", f"/services/{service}/functions/f", json.dumps({"instanceLifecycleConfig": HOOKS}))
    assert changed.json()["instanceLifecycleConfig"] == HOOKS
    assert json.loads(client.invoke_function(service, "f").data) == ["call"]
    wait_until(lambda: "about to freeze f for" in logs_of(sesame, service), "the first hook")
    assert json.loads(client.invoke_function(service, "f").data) == ["call", "freeze", "call"]
    client.update_function(service, "f", description="so that the instance is of old code")
    said = wait_until(lambda: _with(logs_of(sesame, service), "FC PreStop End"), "the second hook")
    assert "about to stop after call,freeze,call" in said
    assert "FC PreFreeze Start RequestId: " in said
    assert "FC PreStop Start RequestId: " in said
    assert "Error" not in said


def _with(said: str, text: str) -> str:
    return said if text in said else ""
