"""NAS through the API: what functions keep there, with the official SDK and a real server; and buckets, refused.

Run by pytest.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.conftest import ACCOUNT_ID, FUNCTIONS, run, running

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


def test_a_bucket_that_cannot_be_mounted_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with running(tmp_path, "--sandbox", "plain", runtime=RUNTIME) as server:
        point = {"bucketName": "bucket", "endpoint": "e", "mountDir": "/mnt/b"}
        role = f"acs:ram::{ACCOUNT_ID}:role/aliyunfcdefaultrole"
        body = {"serviceName": "s", "role": role, "ossMountConfig": {"mountPoints": [point]}}
        answer = server.api().whole("POST", "/2021-04-06/services", json.dumps(body))
        assert answer.status_code == 400
        assert "no bucket can be mounted here: the sandbox plain makes no mounts: run Sesame as root" in answer.text
        assert "OSS: an ossMountConfig is refused" in run(server, "doctor", "--sandbox", "plain").stdout
