"""`sesame logs`: what is printed, what is refused, and the whole way from a function's print to the terminal.

Run by pytest. The file is written through the store itself, or by a Sesame of the test's own.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from click.testing import CliRunner, Result
from tests.cli.test_start import CLEAN, FLAGS, Server, sesame
from tests.store.logstores.test_function_lines import group
from tests.support.fakes import FakeClocks
from tests.support.pauses import Pauses
from tests.support.query_processes import query_processes

from sesame.cli import logs as command
from sesame.data_dir import Credentials, DataDir, Endpoints
from sesame.model.errors import ConfigurationError
from sesame.model.logstore import LogProject, Logstore
from sesame.store.logs.file import SourceKey
from sesame.store.logs.intake import Logs, Retention
from sesame.store.logs.logstores.function_lines import FunctionLines
from sesame.store.logs.logstores.history import History
from sesame.store.logs.logstores.store import LogStorage
from sesame.store.logs.reader import LogLine, LogReader, Query

NOW = 1_700_000_000.0
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (\S+) (.*)")
PRINTS = """
import sys

def handler(event, context):
    count = int(event)
    line = "x" * 1023 + "\\n"
    for _ in range(count):
        sys.stdout.write(line)
    print("the function's last line")
    return str(count)
"""


def write(data_dir: Path, lines: list[tuple[str, str, str, float]], *, logstore: str = "") -> None:
    """(service, function, request id, seconds before NOW) → one line that says the last."""

    async def run() -> None:
        clocks = FakeClocks()
        logs = Logs(data_dir / "logs.db", Retention(age_s=1e10), clocks)
        await logs.open()
        for service, function, request_id, ago in lines:
            clocks.set_wall(NOW - ago)
            name, _dot, qualifier = service.partition(".")
            project = "p" if logstore else ""
            source = SourceKey(name, function, "LATEST", f"c-{function}", project, logstore, qualifier)
            logs.append(source, request_id, f"{ago:g} ago\n".encode())
            await logs.flush()
        await logs.close()

    data_dir.mkdir(exist_ok=True)
    asyncio.run(run())


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sesame.cli.logs.time.time", lambda: NOW)
    write(
        tmp_path,
        [
            ("demo.prod", "hello", "r-1", 7300),
            ("demo", "other", "r-2", 700),
            ("demo", "hello", "r-3", 500),
            ("shop", "other", "r-4", 20),
            ("demo", "hello", "r-5", 10),
        ],
    )
    return tmp_path


def run(data_dir: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command.logs, [*arguments, "--data-dir", str(data_dir)])


def said(result: Result) -> list[tuple[str, str]]:
    assert result.exit_code == 0, result.output
    found = [LINE.fullmatch(line) for line in result.stdout.splitlines()]
    assert all(found)
    return [(match[1], match[2]) for match in found if match]


def test_lines_have_time_and_request_id(data_dir: Path) -> None:
    assert run(data_dir, "hello").stdout == (
        "2023-11-14T20:11:40.000Z r-1 7300 ago\n"
        "2023-11-14T22:05:00.000Z r-3 500 ago\n"
        "2023-11-14T22:13:10.000Z r-5 10 ago\n"
    )


def test_lines_are_selected_by_request_and_time(data_dir: Path) -> None:
    assert said(run(data_dir, "demo/hello", "--since", "10m")) == [("r-3", "500 ago"), ("r-5", "10 ago")]
    assert said(run(data_dir, "hello", "--since", "3h", "--request-id", "r-1")) == [("r-1", "7300 ago")]
    assert said(run(data_dir, "shop/other")) == [("r-4", "20 ago")]
    assert said(run(data_dir, "hello", "--since", "2023-11-14T22:13:10Z")) == [("r-5", "10 ago")]
    assert said(run(data_dir, "demo.prod/hello")) == [("r-1", "7300 ago")]
    assert said(run(data_dir, "demo/hello:prod")) == [("r-1", "7300 ago")]
    assert said(run(data_dir, "demo.other/hello")) == []
    nothing = run(data_dir, "hello", "--request-id", "r-2")
    assert said(nothing) == []
    assert "No lines of hello match." in nothing.stderr


def test_lines_are_selected_by_their_end_and_their_number(data_dir: Path) -> None:
    assert said(run(data_dir, "hello", "--until", "10m")) == [("r-1", "7300 ago")]
    assert said(run(data_dir, "hello", "--since", "10m", "--until", "2023-11-14T22:13:10Z")) == [("r-3", "500 ago")]
    assert said(run(data_dir, "hello", "--until", "2100-01-01", "-n", "2")) == [("r-3", "500 ago"), ("r-5", "10 ago")]
    assert said(run(data_dir, "hello", "-n", "1", "--search", "500")) == [("r-3", "500 ago")]
    assert len(said(run(data_dir, "hello", "-n", "999"))) == 3
    none = run(data_dir, "hello", "-n", "0")
    assert (said(none), "match" in none.stderr) == ([], False)
    assert "No lines of hello match." in run(data_dir, "hello", "-n", "2", "--search", "nothing").stderr


def test_the_last_lines_are_those_of_all_pages(data_dir: Path, capsysbinary: object) -> None:
    reader = LogReader(data_dir / "logs.db")
    query = Query(function="hello", limit=1)
    count, last = command.print_last(reader, query, 2, command.shown_line, lambda lines: lines)
    assert capsysbinary.readouterr().out.count(b"\n") == 2  # type: ignore[attr-defined]
    assert count == 3
    assert last >= reader.read(Query(function="hello"))[-1].id


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--until", "10m", "-f"], "--follow goes on: leave out --until"),
        (["--until", "soon"], "--until 'soon' is no time"),
        (["--until", ""], "--until '' is no time"),
        (["-n", "-1"], "-1 is not in the range"),
        (["-n", "x"], "not a valid integer"),
        (["--sql", "select 1", "-n", "1"], "leave out --lines"),
        (["-r", ""], "--request-id '' names no call"),
    ],
)
def test_options_that_say_nothing_are_refused(data_dir: Path, options: list[str], says: str) -> None:
    result = run(data_dir, "hello", *options)
    assert result.exit_code != 0
    assert says in result.stderr + str(result.exception)


def test_a_node_of_a_cluster_that_does_not_lead_says_what_it_lacks(data_dir: Path) -> None:
    node = DataDir(data_dir, announced_elsewhere=True)
    endpoints = Endpoints(
        account_id="1", region="cn-shanghai", fc="http://127.0.0.1:9000", sandbox="plain", pid=os.getpid(),
        started_at=psutil.Process().create_time() + 1.0, of_cluster=True,
    )  # fmt: skip
    node.announce(endpoints, Credentials("1", "LTAI", "secret"))
    assert "does not lead" in run(data_dir, "shop/other").stderr
    with node:
        assert "does not lead" not in run(data_dir, "shop/other").stderr


def test_pages_are_joined(data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: object) -> None:
    reader = LogReader(data_dir / "logs.db")
    count, last = command.print_all(reader, Query(function="hello", limit=1))
    assert capsysbinary.readouterr().out.count(b"\n") == count == 3  # type: ignore[attr-defined]
    assert last >= reader.read(Query(function="hello"))[-1].id


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("nothing", r"there are no logs of 'nothing': there are logs of demo/hello, demo/other, shop/other in /"),
        ("shop/hello", r"there are no logs of 'shop/hello': there are logs of"),
        ("other", r"several services have a function 'other': name one of demo/other, shop/other"),
        ("", r"'' names no function: expected FUNCTION or SERVICE/FUNCTION"),
        ("demo/", r"names no function"),
        ("/hello", r"names no function"),
        ("a/b/c", r"names no function"),
        ("a.b/c/d", r"names no function"),
        (".prod/hello", r"names no function"),
    ],
)
def test_what_has_no_logs_is_an_error_that_says_what_has(data_dir: Path, wanted: str, says: str) -> None:
    result = run(data_dir, wanted)
    assert isinstance(result.exception, ConfigurationError)
    assert re.search(says, str(result.exception))


def test_a_directory_without_logs_says_so(tmp_path: Path) -> None:
    result = run(tmp_path / "new", "hello")
    assert f"no function has any in {tmp_path / 'new'}; name another data directory with --data-dir" in str(
        result.exception
    )
    assert not (tmp_path / "new").exists()


def test_many_functions_are_not_all_named() -> None:
    named = command.names_of([("s", f"f{n}") for n in range(100)])
    assert named.endswith("s/f19 and 80 more")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", NOW - 30),
        ("10m", NOW - 600),
        ("2h", NOW - 7200),
        ("3d", NOW - 3 * 86400),
        ("0s", NOW),
        ("999999999d", 0.0),
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14T22:13:20", NOW),
        ("2023-11-14T23:13:20+01:00", NOW),
        ("2023-11-14", 1_699_920_000.0),
    ],
)
def test_since_is_a_time(text: str, expected: float) -> None:
    assert command.since_time(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "10", "m", "10 m", "-10m", "1.5h", "10w", "yesterday", "2023-13-01", "٣m"])
def test_since_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected a number with s, m, h or d, such as 10m, or an ISO time"):
        command.since_time(text, NOW)


def test_a_search_finds_lines(data_dir: Path) -> None:
    assert said(run(data_dir, "demo/hello", "--search", "ago not 5*")) == [("r-1", "7300 ago"), ("r-5", "10 ago")]
    assert said(run(data_dir, "demo/hello", "--search", "requestId:r-3 or qualifier:prod", "--since", "10m")) == [
        ("r-3", "500 ago")
    ]
    assert "No lines of hello match." in run(data_dir, "hello", "--search", "nothing").stderr


def test_sql_counts_lines(data_dir: Path) -> None:
    sql = "select qualifier, count(*) as lines group by qualifier order by lines"
    assert run(data_dir, "demo/hello", "--sql", sql).stdout == "qualifier  lines\nprod       1\n           2\n"
    found = run(data_dir, "demo/hello", "--search", "500", "--sql", "select requestId as id", "--json")
    assert found.stdout == '{"id":"r-3"}\n'


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--search", "(a"), "--search: the search is invalid: it ends where"),
        (("--search", "a | select 1"), "--search: the search is invalid: it has SQL"),
        (("--search", "nofield:a"), "--search: key (nofield) is not config as key value config"),
        (("--sql", "select nofield"), "--sql: line 1:8: Column 'nofield' cannot be resolved"),
        (("--sql", " ;"), "--sql: there is no SELECT; expected one such as"),
        (("--sql", "drop table log"), "--sql: line 1:1: mismatched input 'drop'"),
    ],
)
def test_a_query_is_refused_in_the_log_services_words(data_dir: Path, option: tuple[str, str], says: str) -> None:
    result = run(data_dir, "demo/hello", *option)
    assert isinstance(result.exception, ConfigurationError)
    assert says in str(result.exception)


def test_sql_does_not_follow(data_dir: Path) -> None:
    assert "leave out --follow" in run(data_dir, "demo/hello", "--sql", "select 1", "-f").stderr


@pytest.fixture
def logstores_alone(tmp_path: Path) -> Path:
    """A data directory whose built-in store keeps nothing."""

    async def fill() -> None:
        clocks = FakeClocks()
        storage = LogStorage(
            tmp_path / "logstores.db", tmp_path / "logstores", clocks, query_processes(), durable=False
        )
        await storage.open()
        await storage.create_project(LogProject("p"))
        await storage.create_logstore(Logstore("p", "l", ttl_days=7))
        await storage.append("p", "l", group("demo", "hello", "FC Invoke Start RequestId: r-1", "one", "two words"))
        await storage.append("p", "l", group("demo", "other", "three", instance="c-2"))
        await storage.close()

    asyncio.run(fill())
    return tmp_path


def test_where_nothing_else_is_kept_lines_come_from_logstores(logstores_alone: Path) -> None:
    found = run(logstores_alone, "hello")
    assert said(found) == [("r-1", "FC Invoke Start RequestId: r-1"), ("r-1", "one"), ("r-1", "two words")]
    assert (
        "The built-in store keeps no lines here (--log-retention-days): these are from the logstores." in found.stderr
    )
    assert said(run(logstores_alone, "demo/hello:prod", "--search", "words not one")) == [("r-1", "two words")]
    sql = run(logstores_alone, "demo/hello", "--sql", "select requestId as id, count(*) as n group by id", "--json")
    assert sql.stdout == '{"id":"r-1","n":"3"}\n'
    (line,) = run(logstores_alone, "demo/other", "--json").stdout.splitlines()
    assert json.loads(line)["message"] == "three"
    assert "there are logs of demo/hello, demo/other in" in str(run(logstores_alone, "nothing").exception)


@pytest.fixture
def written_to_both(logstores_alone: Path) -> Path:
    """A data directory whose built-in store has lines from before a function wrote to its logstore, and one of both."""
    write(logstores_alone, [("demo.prod", "hello", "r-0", 60)])
    write(logstores_alone, [("demo.prod", "hello", "r-1", -1)], logstore="l")
    return logstores_alone


def test_lines_are_the_logstores_from_where_they_begin_there(written_to_both: Path) -> None:
    found = run(written_to_both, "hello")
    logstore = [("r-1", "FC Invoke Start RequestId: r-1"), ("r-1", "one"), ("r-1", "two words")]
    assert said(found) == [("r-0", "60 ago"), *logstore]
    assert "From 2023-11-14T22:13:20Z on these lines are from the logstore." in found.stderr
    assert said(run(written_to_both, "demo/hello:prod", "-r", "r-1", "--search", "words or 60")) == [logstore[2]]
    assert said(run(written_to_both, "demo/hello", "--since", "2023-11-14T22:13:20Z")) == logstore
    sql = "select requestId as id, count(*) as n group by id order by id"
    counted = run(written_to_both, "demo/hello", "--sql", sql, "--json").stdout
    assert counted.splitlines() == ['{"id":"r-0","n":"1"}', '{"id":"r-1","n":"3"}']


def test_what_the_built_in_store_no_longer_keeps_is_read_from_the_logstore(written_to_both: Path) -> None:
    assert said(run(written_to_both, "demo/other")) == [("-", "three")]
    assert said(run(written_to_both, "other")) == [("-", "three")]
    (written_to_both / "logs.db").unlink()
    write(written_to_both, [("shop", "cart", "r-9", 1)])
    assert said(run(written_to_both, "-r", "r-1")) == said(run(written_to_both, "hello"))
    assert len(said(run(written_to_both, "hello"))) == 3


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_pages_of_both_stores_follow_each_other(written_to_both: Path, limit: int) -> None:
    logstores = FunctionLines(written_to_both / "logstores.db")
    both = History(LogReader(written_to_both / "logs.db"), logstores, logstores.begin_s("demo", "hello") or 0)
    query, texts, full = Query(service="demo", function="hello", limit=limit), list[str](), True
    while full:
        lines, last = both.read_on(query)
        texts += [line.text for line in lines]
        full, query = len(lines) == limit, msgspec.structs.replace(query, after_id=last)
    assert texts == ["60 ago", "FC Invoke Start RequestId: r-1", "one", "two words"]
    assert both.read_on(query) == ([], query.after_id)


def test_following_logstores_prints_each_new_line_once(
    logstores_alone: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    reader, query = FunctionLines(logstores_alone / "logstores.db"), Query(function="hello", service="demo")

    async def add() -> None:
        storage = LogStorage(
            logstores_alone / "logstores.db", logstores_alone / "logstores", FakeClocks(), query_processes()
        )
        await storage.open()
        await storage.append("p", "l", group("demo", "hello", "more"))
        await storage.close()

    turns: list[Callable[[], None]] = [lambda: asyncio.run(add()), lambda: None]

    def wait(_seconds: float) -> None:
        if not turns:
            raise KeyboardInterrupt
        turns.pop(0)()

    _count, last = command.print_all(reader, query)
    capsysbinary.readouterr()
    with pytest.raises(KeyboardInterrupt):
        command.print_on(reader, query, last, wait=wait)
    (line,) = capsysbinary.readouterr().out.decode().splitlines()
    assert line.endswith(" r-1 more")


def test_the_logstore_of_the_lines_is_told(tmp_path: Path) -> None:
    write(tmp_path, [("demo", "hello", "r-1", 10)], logstore="l")
    assert "What demo writes goes to logstore l of project p too" in run(tmp_path, "demo/hello").stderr
    write(tmp_path, [("demo", "hello", "r-2", 5)])
    assert "logstore l of" not in run(tmp_path, "demo/hello").stderr


def test_since_cannot_lie_in_the_future() -> None:
    with pytest.raises(ConfigurationError, match="is in the future"):
        command.since_time("2033-01-01", NOW)


def test_control_characters_are_escaped_on_a_terminal() -> None:
    line = LogLine(1, NOW, "demo", "hello", "LATEST", "c-1", "", "", "", "a\tb\x1b[2Jc\rd\x9be")
    assert command.line_of(line, terminal=True) == "2023-11-14T22:13:20.000Z - a\tb\\x1b[2Jc\\x0dd\\x9be"
    assert command.line_of(line, terminal=False).endswith("a\tb\x1b[2Jc\rd\x9be")


def test_following_prints_each_new_line_once(data_dir: Path, capsysbinary: object) -> None:
    reader = LogReader(data_dir / "logs.db")
    query = Query(function="hello", service="demo")
    turns: list[Callable[[], None]] = [
        lambda: write(data_dir, [("demo", "hello", "r-6", 5), ("demo", "other", "r-7", 4)]),
        lambda: None,
        lambda: write(data_dir, [("demo", "hello", "r-8", 3)]),
    ]

    def wait(seconds: float) -> None:
        assert 0 < seconds < 1
        if not turns:
            raise KeyboardInterrupt
        turns.pop(0)()

    _count, last = command.print_all(reader, query)
    with pytest.raises(KeyboardInterrupt):
        command.print_on(reader, query, last, wait=wait)
    out = capsysbinary.readouterr().out.decode()  # type: ignore[attr-defined]
    assert [line.split()[1] for line in out.splitlines()] == ["r-1", "r-3", "r-5", "r-6", "r-8"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data", "--log-bytes-per-call=1048576", "--sandbox=plain", *FLAGS)
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.wait()


def lines_of(server: Server, *arguments: str) -> list[tuple[str, str]]:
    done = sesame("logs", *arguments, f"--data-dir={server.data_dir}")
    assert done.returncode == 0, done.stderr
    found = [LINE.fullmatch(line) for line in done.stdout.splitlines()]
    return [(match[1], match[2]) for match in found if match]


def until(server: Server, last: str, *arguments: str) -> list[tuple[str, str]]:
    """The lines, once the flusher has written the one that is awaited."""
    deadline, pauses = time.monotonic() + 60, Pauses(0.02)
    while time.monotonic() < deadline:
        done = sesame("logs", *arguments, f"--data-dir={server.data_dir}")
        if last in done.stdout:
            return lines_of(server, *arguments)
        pauses.block()
    raise AssertionError(f"{last!r} did not come; {done.stdout[-2000:]} {done.stderr}")


def heed_interrupts() -> None:
    """For a child: shells have what they start in the background ignore SIGINT, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_from_print_to_the_terminal_running_cut_followed_and_stopped(server: Server, tmp_path: Path) -> None:
    server.ready()
    client = server.client()
    code = tmp_path / "code"
    code.mkdir()
    (code / "main.py").write_text(PRINTS)
    client.create_service("demo")
    client.create_function("demo", "prints", "python3", "main.handler", codeDir=str(code), timeout=60)
    first = client.invoke_function("demo", "prints", payload=b"2")
    assert first.data == b"2"
    request_id = first.headers["X-Fc-Request-Id"]
    found = until(server, "FC Invoke End", "demo/prints")
    texts = [text for rid, text in found if rid == request_id]
    start = texts.index(f"FC Invoke Start RequestId: {request_id}")
    assert texts[start + 1 : start + 5] == [
        "x" * 1023,
        "x" * 1023,
        "the function's last line",
        f"FC Invoke End RequestId: {request_id}",
    ]

    # 100 MB, of which 1 MiB is kept, and the end.
    big = client.invoke_function("demo", "prints", payload=str(100 * 1024).encode())
    request_id = big.headers["X-Fc-Request-Id"]
    found = until(server, f"FC Invoke End RequestId: {request_id}", "prints", "--request-id", request_id, "--since=10m")
    texts = [text for rid, text in found if rid == request_id]
    assert len(texts) == len(found)
    cut = [text for text in texts if text.startswith("[sesame]")]
    assert len(cut) == 1
    missing = re.match(
        r"\[sesame\] (\d+) bytes of this call's log were not kept: it wrote more than the 1048576", cut[0]
    )
    assert missing
    assert 98 * 1024 * 1024 < int(missing[1]) < 100 * 1024 * 1024
    end = texts[texts.index(cut[0]) :]
    assert "the function's last line" in end
    assert f"FC Invoke End RequestId: {request_id}" in end

    follower = subprocess.Popen(
        [sys.executable, "-m", "sesame", "logs", "demo/prints", "-f", f"--data-dir={server.data_dir}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=CLEAN, preexec_fn=heed_interrupts,
    )  # fmt: skip
    try:
        assert follower.stdout is not None
        third = client.invoke_function("demo", "prints", payload=b"0").headers["X-Fc-Request-Id"]
        for line in follower.stdout:
            if f"FC Invoke End RequestId: {third}".encode() in line:
                break
        follower.send_signal(signal.SIGINT)
        assert follower.wait(60) == 0
        assert follower.stderr is not None
        assert follower.stderr.read() == f"Logs of {server.data_dir}.\n".encode()
    finally:
        if follower.poll() is None:
            follower.kill()
        follower.communicate()

    fourth = client.invoke_function("demo", "prints", payload=b"0").headers["X-Fc-Request-Id"]
    code_of_end, _said = server.stop()
    assert code_of_end == 0
    after = [text for _rid, text in lines_of(server, "prints", "--request-id", fourth)]
    assert f"FC Invoke End RequestId: {fourth}" in after
    assert oct(os.stat(server.data_dir / "logs.db").st_mode & 0o777) == "0o600"


def test_without_retention_no_logs_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "data", [("demo", "hello", "r-1", 10)])
    server = Server(tmp_path / "data", "--log-retention-days=0")
    try:
        server.ready()
        assert not list((tmp_path / "data").glob("logs.db*"))
    finally:
        server.stop()
