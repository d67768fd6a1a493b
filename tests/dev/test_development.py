"""A project under development on a Sesame in this process: what is saved serves, what is broken is told at once.

Run by pytest. Deployments are asked for by hand: `dev.watching` has its own tests.
"""

import asyncio
import itertools
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.interpreters import INTERPRETERS

from sesame.app import Sesame
from sesame.cli import call_text
from sesame.cli.client import Client
from sesame.cli.server import Key, Server
from sesame.deploy import sources
from sesame.deploy.project import Project
from sesame.dev.development import Development, Needs, urls
from sesame.model.invocation import Invocation, Outcome
from sesame.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEAD = """
ROSTemplateFormatVersion: '2015-09-01'
Transform: 'Aliyun::Serverless-2018-04-03'
Resources:
  SERVICE:
    Type: 'Aliyun::Serverless::Service'
    hello:
      Type: 'Aliyun::Serverless::Function'
      Properties: {Handler: main.handler, Runtime: RUNTIME, CodeUri: ./code}
"""
WEB = """
    Web:
      Type: 'Aliyun::Serverless::Function'
      Properties: {Handler: main.web, Runtime: RUNTIME, CodeUri: ./code}
      Events:
        http: {Type: HTTP, Properties: {AuthType: ANONYMOUS, Methods: [GET, POST]}}
"""
RUNTIME = next(name for name in reversed(INTERPRETERS) if name != "python2.7")
GOOD = "import other\n\ndef handler(event, context):\n    return 'main %s, other %s' % (1, other.NUMBER)\n"
BROKEN = "def handler(event, context):\n    return 'never closed\n"
_numbers = itertools.count(1)


class Said:
    """What a user is shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def failed(self, line: str) -> None:
        self.lines.append(f"error: {line}")

    def loaded(self, invocation: Invocation, outcome: Outcome) -> None:
        self.lines += call_text.lines_of(call_text.loaded_call(0.0, invocation, outcome), colors=False)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Stage:
    """A project in a folder, and a `Development` of it."""

    def __init__(self, sesame: Sesame, folder: Path, *, keep_serving: bool = False) -> None:
        self.folder = folder
        self.service = f"shop{next(_numbers)}"
        self.said = Said()
        keys = sesame.data_dir.credentials()
        key = Key(keys.access_key_id, keys.access_key_secret, "the test", account_id=keys.account_id)
        self.client = Client(Server(sesame.endpoints.fc, "the test", key))
        self.read_also: Callable[[], None] = lambda: None
        self.template()
        self.write("main.py", GOOD)
        self.write("other.py", "NUMBER = 1\n")
        self.needs = Needs(
            root=folder, read=self._read, client=self.client, says=self.said, load=sesame.load,
            keep_serving=keep_serving, remembered=folder / "remembered.json",
        )  # fmt: skip
        self.development = Development(self.needs)

    def template(self, web: str = "") -> None:
        text = (HEAD + web).replace("SERVICE", self.service).replace("RUNTIME", RUNTIME)
        (self.folder / "template.yml").write_text(text)

    def write(self, name: str, text: str) -> None:
        file = self.folder / "code" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    def _read(self) -> Project:
        project = sources.read(self.folder / "template.yml", sources.Context(account_id="1", region="cn-shanghai"))
        self.read_also()
        return project

    async def call(self, name: str = "hello") -> str:
        answer = await asyncio.to_thread(self.client.invoke, self.service, name, b"", timeout_s=60)
        return answer.body.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sesame(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sesame]:
    data_dir = tmp_path_factory.mktemp("dev") / "data"
    running = Sesame(Settings(port=0, oss_port=0, data_dir=data_dir, sandbox="plain"))
    await running.start()
    yield running
    await running.stop()


async def test_what_is_saved_serves_with_the_next_call(sesame: Sesame, tmp_path: Path) -> None:
    stage = Stage(sesame, tmp_path)
    assert await stage.development.deploy()
    assert await stage.call() == "main 1, other 1"
    assert f"+ function {stage.service}/hello" in stage.said.lines
    assert "loaded in" in stage.said.text
    stage.said.lines.clear()
    stage.write("other.py", "NUMBER = 2\n")
    assert await stage.development.deploy()
    assert await stage.call() == "main 1, other 2"
    assert "new code" in stage.said.text
    stage.said.lines.clear()
    assert await stage.development.deploy()
    assert stage.said.lines == [], "nothing has changed"


async def test_code_that_cannot_be_loaded_is_told_with_file_and_line_before_any_call(
    sesame: Sesame, tmp_path: Path
) -> None:
    stage = Stage(sesame, tmp_path)
    for broken, says in (
        (BROKEN, ('main.py", line 2', "SyntaxError")),
        ("import other\nother.nothing\n", ('main.py", line 2', "AttributeError")),
        ("import absent\n", ("No module named 'absent'",)),
    ):
        stage.write("main.py", broken)
        stage.said.lines.clear()
        await stage.development.deploy()
        assert "cannot be loaded" in stage.said.text
        # A plain sandbox shows where the code really lies.
        assert all(words in stage.said.text for words in says), stage.said.text
    stage.write("main.py", GOOD)
    await stage.development.deploy()
    assert await stage.call() == "main 1, other 1"


async def test_old_code_keeps_serving_where_that_is_asked_for(sesame: Sesame, tmp_path: Path) -> None:
    stage = Stage(sesame, tmp_path, keep_serving=True)
    assert await stage.development.deploy()
    stage.write("main.py", BROKEN)
    assert not await stage.development.deploy()
    assert "SyntaxError" in stage.said.text
    assert "keeps serving" in stage.said.lines[-1]
    assert await stage.call() == "main 1, other 1"
    stage.write("main.py", GOOD.replace("% (1,", "% (2,"))
    assert await stage.development.deploy()
    assert await stage.call() == "main 2, other 1"


async def test_a_new_function_that_has_no_old_code_is_told_where_it_cannot_be_loaded(
    sesame: Sesame, tmp_path: Path
) -> None:
    stage = Stage(sesame, tmp_path, keep_serving=True)
    stage.write("main.py", BROKEN)
    assert await stage.development.deploy()
    assert "SyntaxError" in stage.said.text


async def test_files_that_change_while_they_are_read_are_never_mixed(sesame: Sesame, tmp_path: Path) -> None:
    stage = Stage(sesame, tmp_path)
    assert await stage.development.deploy()
    calls = itertools.count()

    class Slow:
        """A client before whose first answer both files are saved anew: main.py was packed before or after."""

        def ask(self, method: str, path: str, document: object = None) -> object:
            answer = stage.client.ask(method, path, document)
            if method == "GET" and next(calls) == 1:
                stage.write("main.py", GOOD.replace("% (1,", "% (3,"))
                stage.write("other.py", "NUMBER = 3\n")
            return answer

        def pages(self, path: str, key: str) -> object:
            return stage.client.pages(path, key)

    stage.write("other.py", "NUMBER = 2\n")
    slow = Development(
        Needs(root=tmp_path, read=stage.needs.read, client=Slow(), says=stage.said, load=sesame.load)  # type: ignore[arg-type]
    )
    assert await slow.deploy()
    assert await stage.call() == "main 3, other 3"


async def test_a_function_that_the_template_no_longer_has_is_deleted_and_told(sesame: Sesame, tmp_path: Path) -> None:
    stage = Stage(sesame, tmp_path)
    stage.template(WEB)
    stage.write(
        "main.py", GOOD + "\ndef web(environ, start_response):\n    start_response('200 OK', [])\n    return [b'w']\n"
    )
    assert await stage.development.deploy()
    stage.template()
    stage.said.lines.clear()
    # Also by the next `sesame dev`.
    assert await Development(stage.needs).deploy()
    assert f"- function {stage.service}/Web" in stage.said.lines
    assert f"- trigger {stage.service}/Web/http" in stage.said.lines
    left = await asyncio.to_thread(list, stage.client.pages(f"/services/{stage.service}/functions", "functions"))
    assert [each["functionName"] for each in left] == ["hello"]


async def test_errors_of_a_template_are_told_and_nothing_ends(sesame: Sesame, tmp_path: Path) -> None:
    stage = Stage(sesame, tmp_path)
    assert await stage.development.deploy()
    stage.template("\n    hello: [no function\n")
    assert not await stage.development.deploy()
    assert stage.said.lines[-1].startswith(f"error: {tmp_path}/template.yml:")
    stage.template()
    assert await stage.development.deploy()
    assert await stage.call() == "main 1, other 1"


async def test_an_http_function_answers_under_its_local_url(sesame: Sesame, tmp_path: Path) -> None:
    stage = Stage(sesame, tmp_path)
    stage.template(WEB)
    body = "    start_response('200 OK', [])\n    return [environ['PATH_INFO'].encode()]\n"
    stage.write("main.py", GOOD + "\ndef web(environ, start_response):\n" + body)
    assert await stage.development.deploy()
    assert stage.development.project is not None
    port = int(sesame.endpoints.fc.rpartition(":")[2])
    assert list(urls(stage.development.project, port)) == [f"http://Web.{stage.service}.localhost:{port}/  GET POST"]
    for host in (f"Web.{stage.service}.localhost:{port}", f"web.{stage.service.upper()}.localhost"):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/a/b?c=1", headers={"Host": host})
        assert await asyncio.to_thread(_visit, request) == b"/a/b"


def _visit(request: urllib.request.Request) -> bytes:
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())
