import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def code(tmp_path):
    """What `sesame deploy` uploads: the code, with what requirements.txt names installed for the function's Python."""
    project = tmp_path / "project"
    shutil.copytree(HERE, project)
    subprocess.run([sys.executable, "-m", "sesame", "build"], cwd=project, check=True)
    return project / ".fun" / "build" / "artifacts" / "notes" / "web"


def ask(url, data=None):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, data) as answer:
        return answer.status, answer.read().decode()


def test_notes_are_kept_and_listed(sesame, code):
    web = sesame.deploy(code, "app.app", service="notes", name="web", runtime="python3.12", http=True)
    status, said = ask(web.url + "notes/shopping", "Tee, Käse".encode())
    assert (status, json.loads(said)) == (201, {"name": "shopping", "size": 9})
    assert ask(web.url + "notes/shopping") == (200, "Tee, Käse")
    assert json.loads(ask(web.url + "notes")[1]) == ["shopping"]
    with pytest.raises(urllib.error.HTTPError) as missing:
        ask(web.url + "notes/other")
    assert missing.value.code == 404
