"""The log tail of a call and the logs that are kept: the format, and that nothing is missing from it.

Under the oldest and the newest runtime (reference/runtime.md §7, reference/api.md §3.3).
"""

import base64
import re
import uuid
from collections.abc import Sequence

import fc2
import requests
from tests.journeys.conftest import Deploy, Sesame, wait_until
from tests.support import command_line
from tests.support.signer import Api

ROUNDS = 200
TAIL = {"x-fc-log-type": "Tail"}
TAIL_BYTES = 4096
SUMMARY = (
    r"\n\nDuration: \d+\.\d\d ms, Billed Duration: \d+ ms, Memory Size: 128 MB, Max Memory Used: \d+\.\d\d MB\n?"
    r"(Cold start: [^\n]+\n)?"
)
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def tail(answer: requests.Response) -> str:
    assert answer.status_code == 200, answer.text
    return base64.b64decode(answer.headers["X-Fc-Log-Result"], validate=True).decode()


def said(answer: requests.Response) -> str:
    """What stands between the Start and the End of the call; all around it must be as the API has it."""
    request_id = re.escape(answer.headers["X-Fc-Request-Id"])
    failed = ", Error: Unhandled function error" if "X-Fc-Error-Type" in answer.headers else ""
    start, end = rf"FC Invoke Start RequestId: {request_id}\r?\n", rf"FC Invoke End RequestId: {request_id}{failed}\r?"
    found = re.fullmatch(rf"{start}(.*){end}{SUMMARY}", tail(answer), re.DOTALL)
    assert found, repr(tail(answer))
    return found[1]


def test_the_format(deploy: Deploy, service: str, api: Api, client: fc2.Client) -> None:
    deploy("prints", handler="index.order")
    first = api.invoke(service, "prints", headers=TAIL)
    assert said(first) == "one\ntwo\nthree without newline four\nfive\n"
    warm = api.invoke(service, "prints", headers=TAIL)
    assert said(warm) == said(first)
    assert "Cold start" not in tail(warm)
    assert "X-Fc-Log-Result" not in api.invoke(service, "prints", headers={"x-fc-log-type": "None"}).headers
    client.update_function(service, "prints", handler="index.text")
    assert said(api.invoke(service, "prints", headers=TAIL)) == "你好\nbytes or text\n"
    client.update_function(service, "prints", handler="index.unfinished")
    assert said(api.invoke(service, "prints", headers=TAIL)).rstrip("\n") == "no newline at the end"
    client.update_function(service, "prints", handler="index.child")
    lines = ["before", "from the child", "its stderr", "from system", "after", ""]
    assert said(api.invoke(service, "prints", headers=TAIL)) == "\n".join(lines)


def test_log_lines(deploy: Deploy, service: str, api: Api) -> None:
    deploy("logs", handler="index.handler")
    answer = api.invoke(service, "logs", headers=TAIL)
    request_id = answer.headers["X-Fc-Request-Id"]
    lines = said(answer).splitlines()
    assert re.fullmatch(rf"{STAMP} {request_id} \[INFO\] hello world", lines[0])
    assert re.fullmatch(rf"{STAMP} {request_id} \[WARNING\] 你好", lines[1])
    assert re.fullmatch(rf"{STAMP} {request_id} \[ERROR\] caught", lines[2])
    assert lines[3] == "Traceback (most recent call last):"
    assert "not shown" not in tail(answer)


def test_errors_are_told_in_the_log(deploy: Deploy, service: str, api: Api) -> None:
    deploy("raises", handler="index.handler")
    answer = api.invoke(service, "raises", "{}", headers=TAIL)
    assert re.match(rf'{STAMP} {answer.headers["X-Fc-Request-Id"]} \[ERROR\] \{{\n    "errorMessage": ', said(answer))
    deploy("broken_import", handler="index.handler")
    load = api.invoke(service, "broken_import", headers=TAIL)
    assert re.match(rf"{STAMP} {load.headers['X-Fc-Request-Id']} \[ERROR\] \{{.*'errorType': ", said(load))


def test_a_long_log_is_cut_from_the_front(deploy: Deploy, service: str, api: Api) -> None:
    deploy("prints", handler="index.megabyte")
    answer = api.invoke(service, "prints", headers=TAIL)
    assert answer.content == b"done"
    assert TAIL_BYTES - 8 <= len(base64.b64decode(answer.headers["X-Fc-Log-Result"])) <= TAIL_BYTES
    assert re.search(
        rf"x{{1023}}\nFC Invoke End RequestId: {answer.headers['X-Fc-Request-Id']}\r?{SUMMARY}$", tail(answer)
    )


def test_nothing_that_was_written_is_missing(deploy: Deploy, service: str, api: Api) -> None:
    """A result must not overtake what was printed right before it, by the function itself or by its child."""
    deploy("last_words", handler="index.my_handler")
    for number in range(ROUNDS):
        mark, by_child = f"{number}-{uuid.uuid4()}", number % 10 == 0
        answer = api.invoke(service, "last_words", f"{mark} {'child' if by_child else 'self'}", headers=TAIL)
        assert answer.content == mark.encode()
        wanted = [f"child {mark}"] * by_child + [f"stdout {mark}", f"stderr {mark}"]
        assert said(answer).splitlines() == wanted


def test_what_was_said_before_a_death(deploy: Deploy, service: str, api: Api) -> None:
    deploy("exits", handler="index.by_sys")
    assert said(api.invoke(service, "exits", headers=TAIL)).startswith("before the end\n")


def test_the_stacks_of_a_call_that_took_too_long(deploy: Deploy, service: str, api: Api) -> None:
    deploy("hangs", handler="index.handler", timeout=1)
    answer = api.invoke(service, "hangs", headers=TAIL)
    request_id = answer.headers["X-Fc-Request-Id"]
    lines = said(answer).splitlines()
    assert lines[0] == "going to sleep"
    assert re.fullmatch(rf"{STAMP} {request_id} \[ERROR\] Dumping stack trace after function timeout", lines[1])
    assert re.fullmatch(rf"{STAMP} {request_id} \[ERROR\] request id = {request_id}, thread id = \d+", lines[2])
    assert 'File "/code/index.py", line 6, in handler' in said(answer)
    assert 'File "/code/index.py", line 11, in wait_for_it' in said(answer)


def test_logs_that_stay(sesame: Sesame, deploy: Deploy, service: str, api: Api, runtime: str) -> None:
    deploy("prints", handler="index.child")
    calls = [api.invoke(service, "prints").headers["X-Fc-Request-Id"] for _ in range(2)]
    for request_id in calls:
        wanted = ("logs", f"{service}/prints", "--data-dir", sesame.data_dir, "--request-id", request_id)

        def shown(wanted: Sequence[object] = wanted) -> str:
            printed = command_line.sesame(*wanted, expect=None).stdout
            return printed if "FC Invoke End" in printed else ""

        # Lines are kept within a second of the call's end.
        printed = wait_until(shown, "the call's log")
        lines = [re.fullmatch(rf"{STAMP} {request_id} (.*)", line) for line in printed.splitlines()]
        texts = [line[1] for line in lines if line]
        assert len(texts) == len(lines), printed
        begin = texts.index(f"FC Invoke Start RequestId: {request_id}")
        assert texts[begin + 1 : begin + 6] == ["before", "from the child", "its stderr", "from system", "after"]


def test_why_a_process_ended(deploy: Deploy, service: str, api: Api, sesame: Sesame, runtime: str) -> None:
    """The answer is the cloud's, which does not say why; the log does, in the tail and in what is kept."""
    handlers = {
        "index.by_sys": "ended with exit status 3",
        "index.hard": "ended with exit status 9",
        "index.by_signal": "was killed by SIGKILL (Killed)",
        "index.crashes": "was killed by SIGSEGV (Segmentation fault)",
    }
    for number, (handler, how) in enumerate(handlers.items()):
        name = f"exits{number}"
        deploy("exits", name=name, handler=handler)
        answer = api.invoke(service, name, headers=TAIL)
        assert answer.json()["errorMessage"].startswith("Process exited unexpectedly before completing request")
        line = f"[sesame] the function's process {how}"
        assert line in said(answer).splitlines()
        assert line in kept(sesame, f"{service}/{name}", line)
    deploy("hogs", handler="index.memory", memorySize=128)
    answer = api.invoke(service, "hogs", "400", headers=TAIL)
    assert "[sesame] the function's process was killed because it was out of memory: " in said(answer)


def kept(sesame: Sesame, function: str, line: str) -> str:
    """What `sesame logs` says of a function, once the line is there."""

    def seen() -> str:
        text = command_line.sesame("logs", function, "--data-dir", sesame.data_dir, expect=None).stdout
        return text if line in text else ""

    return str(wait_until(seen, f"{line!r} in the log"))


def test_a_call_that_is_stuck_in_c_code(deploy: Deploy, service: str, api: Api) -> None:
    deploy("holds_the_lock", handler="index.handler", timeout=1)
    answer = api.invoke(service, "holds_the_lock", headers=TAIL)
    assert answer.json()["errorMessage"].startswith("Function timed out after 1 seconds (maxMemoryUsage: ")
    assert float(answer.headers["X-Fc-Invocation-Duration"]) < 1900
    assert f"[ERROR] request id = {answer.headers['X-Fc-Request-Id']}, thread id = " in said(answer)
    assert 'File "/code/index.py", line 11, in search' in said(answer)
