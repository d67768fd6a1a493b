"""NAS through the API: what functions keep there, with the official SDK and a real server.

Run by pytest.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.conftest import FUNCTIONS, running

SERVER = "0123-abc.cn-shanghai.nas.aliyuncs.com"
RUNTIME = "python3.12"


def nas(path: str, mount_dir: str = "/mnt/auto") -> dict[str, Any]:
    points = [{"serverAddr": f"{SERVER}:{path}", "mountDir": mount_dir}]
    return {"userId": 1000, "groupId": 1000, "mountPoints": points}


@pytest.mark.parametrize("runtime", [RUNTIME])
def test_files_on_a_nas_outlive_instances_and_servers(tmp_path: Path, runtime: str) -> None:
    with running(tmp_path, runtime=runtime) as server:
        client = server.client()
        client.create_service("shop", nasConfig=nas("/a"))
        client.create_function("shop", "files", runtime, "index.run", codeDir=str(FUNCTIONS / "files"))

        def run(expression: str) -> Any:
            return json.loads(client.invoke_function("shop", "files", payload=expression.encode()).data)

        assert run("write('/mnt/auto/f', 'kept')")
        client.update_service("shop", nasConfig=nas("/b", "/data"))
        assert run("[os.path.exists('/mnt/auto'), os.listdir('/data')]") == [False, []]
        client.update_service("shop", nasConfig=nas("/", "/data"))
        assert run("[sorted(os.listdir('/data')), read('/data/a/f')]") == [["a", "b"], "kept"]
        server.stop()
        server.start()
        client = server.client()
        assert run("read('/data/a/f')") == "kept"
    assert (server.data_dir / "nas" / SERVER / "a" / "f").read_text() == "kept"
