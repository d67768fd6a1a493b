"""The contract with functions (reference/runtime.md §2-§5): handlers, events, context, results, surroundings."""

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_hello_world(stage: Any) -> None:
    actor = await stage.start("hello")
    reply = await actor.invoke()
    assert (reply.ok, reply.payload) == (True, b"hello world")
    assert reply.http is None
    assert actor.text == f"FunctionCompute {'python' if stage.py2 else 'python3'} runtime inited.\n"


async def test_the_json_event_of_the_manual(stage: Any) -> None:
    actor = await stage.start("json_event")
    assert (await actor.invoke(b'{"key": "value"}')).payload == b"value"
    assert (await actor.error(b"{}"))["errorType"] == "KeyError"
    assert (await actor.invoke(b'{"key": "again"}')).payload == b"again"


@pytest.mark.parametrize("event", [b"", b"\x00\xff\xfe not text", "你好".encode(), b"x" * (6 * 1024 * 1024)])
async def test_the_event_arrives_uninterpreted(stage: Any, event: bytes) -> None:
    actor = await stage.shared("text_and_binary", "index.echo")
    assert (await actor.invoke(event)).payload == event


async def test_the_event_is_str_under_2_and_bytes_under_3(stage: Any) -> None:
    actor = await stage.shared("text_and_binary", "index.kind")
    assert (await actor.invoke(b"abc")).payload == (b"str 3" if stage.py2 else b"bytes 3")
    assert (await actor.invoke(b"")).payload == (b"str 0" if stage.py2 else b"bytes 0")


async def test_text_is_returned_as_utf_8(stage: Any) -> None:
    actor = await stage.shared("text_and_binary", "index.literal")
    assert (await actor.invoke()).payload == "你好".encode()


KEYS = {"access_key_id": "STS.id", "access_key_secret": "secret", "security_token": "token"}


async def test_the_context_has_every_member_of_the_page(stage: Any) -> None:
    actor = await stage.start("context_dump", initializer="index.init")
    tracing = {"span_context": "sc", "jaeger_endpoint": "je", "span_baggages": {"a": "b"}}
    call = {"credentials": KEYS, "qualifier": "prod", "version_id": "7", "retry_count": 2, "tracing": tracing}
    seen = await actor.json(request_id="the-request", **call)
    assert seen["class"] == ["FCContext", "Credentials", "FunctionMeta", "ServiceMeta"]
    assert seen["request_id"] == "the-request"
    assert seen["credentials"] == ["STS.id", "secret", "token"]
    assert seen["function"] == ["fn", "index.handler", 128, 3, "index.init", 3]
    assert seen["service"] == ["svc", "project", "store", "prod", "7"]
    assert (seen["region"], seen["account_id"], seen["retry_count"]) == ("cn-shanghai", "1234567890", 2)
    assert seen["tracing"] == ["sc", "je", {"a": "b"}]
    assert all(seen["aliases"])
    assert seen["text"] == ["str"]
    assert seen["plain"]["service"]["name"] == "svc"
    assert set(seen["to_json"]) == {
        "requestId", "credentials", "function", "service", "region", "accountId", "retryCount", "tracing",
    }  # fmt: skip
    assert set(seen["to_json"]["tracing"]) == {"openTracingSpanContext", "openTracingSpanBaggages", "jaegerEndpoint"}


async def test_keys_may_be_in_the_context_or_in_the_environment_alone(stage: Any) -> None:
    none = dict.fromkeys(KEYS, "")
    actor = await stage.start("keys_in_places")
    assert await actor.json(credentials=KEYS, environment_credentials=none) == ["STS.id", "", None]
    actor = await stage.start("keys_in_places")
    assert await actor.json(credentials=none, environment_credentials=KEYS) == ["", "STS.id", "STS.id"]


async def test_the_constructors_take_the_order_of_the_page(stage: Any) -> None:
    actor = await stage.start("context_dump", "index.made_by_hand")
    assert await actor.json() == ["a", "r", "t", 3, "s", "v", "g"]


async def test_the_context_survives_pickling(stage: Any) -> None:
    assert await (await stage.start("pickles")).json() == ["req-1", "svc", True]


async def test_a_returned_context_becomes_json_under_3(stage: Any) -> None:
    actor = await stage.start("context_dump", "index.whole")
    if stage.py2:
        assert (await actor.error())["errorType"] == "TypeError"
    else:
        assert (await actor.json())["requestId"] == "req-1"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("text", b"plain"),
        ("unicode", "你好".encode()),
        ("bytes", b"\x00\xff raw"),
        ("none", b"null"),
        ("true", b"true"),
        ("int", b"1"),
        ("float", b"1.5"),
        ("empty", b""),
        ("list", b'[\n    1,\n    "two",\n    null\n]'),
        ("decimal", b'{\n    "price": 1.25\n}'),
        (
            "dict",
            b'{\n    "a": "\\u4f60",\n    "b": 1,\n    "nested": {\n        "c": null,\n        "d": [\n'
            b"            1,\n            2\n        ]\n    }\n}",
        ),
    ],
)
async def test_return_values(stage: Any, name: str, expected: bytes) -> None:
    reply = await (await stage.shared("returns")).invoke(name.encode())
    assert (reply.ok, reply.payload) == (True, expected)


async def test_values_that_only_python_3_writes(stage: Any) -> None:
    actor = await stage.shared("returns")
    if stage.py2:
        for name in (b"date", b"to_json"):
            assert (await actor.error(name))["errorType"] == "TypeError"
    else:
        assert await actor.json(b"date") == {"at": "2020-01-02T03:04:05", "on": "2020-01-02"}
        assert await actor.json(b"to_json") == {"written": True}


async def test_values_that_are_not_serializable(stage: Any) -> None:
    actor = await stage.shared("returns")
    body = await actor.error(b"opaque")
    # It is no code of the function's that fails, and the stack says so (reference/runtime.md section 5).
    stack = body.pop("stackTrace")
    assert body == {"errorType": "TypeError", "errorMessage": "<Opaque> is not JSON serializable"}
    assert {path.rpartition("/")[2] for path, *_ in stack} <= {'__init__.py"', 'encoder.py"'}
    assert (stack[0][0].endswith('/json/__init__.py"'), stack[0][2]) == (True, "in dumps")
    for name in (b"set", b"bytearray"):
        assert (await actor.error(name))["errorType"] == "TypeError"
    expected = {"errorType": "UnicodeDecodeError"} if stage.py2 else {"errorType": "TypeError"}
    assert (await actor.error(b"bytes_inside"))["errorType"] == expected["errorType"]
    if not stage.py2:
        assert (await actor.error(b"mixed_keys"))["errorType"] == "TypeError"


async def test_a_result_over_the_limit_is_an_error_and_the_instance_lives(stage: Any) -> None:
    actor = await stage.start("returns", memory_mb=1024)
    body = await actor.error(b"large")
    assert body["errorType"] == "ResponseTooLarge"
    assert "33554433 bytes" in body["errorMessage"]
    assert len((await actor.invoke(b"largest")).payload) == 32 * 1024 * 1024
    assert (await actor.invoke(b"text")).payload == b"plain"


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ("index.handler", b"index"),
        ("a.b.main.func", b"a.b.main"),
        ("a/b/main.func", b"a.b.main"),
        ("pkg.index.handler", b"from beside"),
        ("pkg/index.handler", b"from beside"),
    ],
)
async def test_handlers_in_directories_and_packages(stage: Any, handler: str, expected: bytes) -> None:
    actor = await stage.start("nested", handler)
    assert (await actor.invoke()).payload == expected


async def test_the_users_modules_may_have_the_shims_names(stage: Any) -> None:
    actor = await stage.start("shadows")
    assert await actor.json() == ["user"] * 9


async def test_the_users_file_wins_over_a_loaded_module_of_the_same_name(stage: Any) -> None:
    actor = await stage.start("shadows", "decimal.handler")
    assert (await actor.invoke()).payload == b"the user's own decimal"


async def test_globals_live_as_long_as_the_instance(stage: Any) -> None:
    actor = await stage.start("stateful")
    await actor.invoke(request_id="first")
    assert await actor.json(request_id="second") == ["first", "second"]


async def test_the_initializer_runs_in_the_same_process(stage: Any) -> None:
    actor = await stage.start("initializer", initializer="index.init")
    reply = await actor.invoke(kind="initialize", request_id="init")
    assert (reply.ok, reply.payload) == (True, b"")
    assert await actor.json(request_id="later") == ["init"]


async def test_a_broken_initializer_looks_like_a_broken_handler(stage: Any) -> None:
    actor = await stage.start("initializer", initializer="index.broken")
    body = await actor.error(kind="initialize")
    assert (body["errorType"], body["errorMessage"]) == ("RuntimeError", "no database")
    assert body["stackTrace"][0][:3] == ['File "/code/index.py"', "line 10", "in broken"]


async def test_hooks_run_by_name(stage: Any) -> None:
    actor = await stage.start("initializer", setup={"pre_freeze": "index.init", "pre_stop": "index.broken"})
    assert (await actor.invoke(kind="pre_freeze", request_id="freeze")).ok
    assert (await actor.error(kind="pre_stop"))["errorMessage"] == "no database"
    assert await actor.json() == ["freeze"]


async def test_surroundings(stage: Any) -> None:
    environment = {"FC_FUNC_CODE_PATH": "/code/", "HOME": "/tmp", "MINE": "yes", "TZ": "Asia/Shanghai",
                   "LD_LIBRARY_PATH": "/code/:/code//lib:/usr/local/lib"}  # fmt: skip
    actor = await stage.start("surroundings", environment=environment)
    seen = await actor.json()
    code = stage.code("surroundings")
    assert seen["cwd"] == code
    assert seen["file"].startswith(code)
    assert seen["name"] == "index"
    assert seen["path"][0] == code
    assert not [path for path in seen["path"] if path.endswith(("site-packages", "shim", "dist-packages")) or not path]
    assert seen["environ"]["MINE"] == "yes"
    assert seen["environ"]["HOME"] == "/tmp"
    assert seen["environ"]["FC_FUNC_CODE_PATH"] == code + "/"
    assert seen["environ"]["LD_LIBRARY_PATH"] == f"{code}/:{code}//lib:/usr/local/lib"
    assert seen["environ"]["FC_INSTANCE_ID"].startswith("c-test-")
    assert [seen["environ"][name] for name in ("accessKeyID", "accessKeySecret", "securityToken")] == ["", "", ""]
    assert "ALIBABA_CLOUD_ACCESS_KEY_ID" not in seen["environ"]
    assert not [name for name in seen["environ"] if name.startswith(("SESAME", "VIRTUAL_ENV", "PYTEST"))]
    assert seen["main"] == []
    assert seen["encoding"] == "utf-8"
    assert seen["stdout"] == ["utf-8", False, 1]
    assert seen["builtins"] == [True, True]
    assert seen["time"] == "CST"
    assert not {"bootstrap", "wire", "context", "main", "output"} & set(seen["modules"])
    if not stage.py2:
        assert seen["warnings"] == ["ignore"]


async def test_keys_are_renewed_with_each_call(stage: Any) -> None:
    actor = await stage.start("surroundings", "index.keys")
    assert await actor.json() == ["", "", "", None, None, None]
    assert await actor.json(credentials=KEYS) == ["STS.id", "secret", "token"] * 2
    other = {**KEYS, "access_key_id": "STS.other"}
    assert (await actor.json(credentials=other))[0] == "STS.other"


async def test_a_change_of_directory_is_the_functions_own(stage: Any) -> None:
    actor = await stage.start("surroundings", "index.chdir")
    assert (await actor.invoke()).payload == b"/"
    assert (await actor.invoke()).payload == b"/"


async def test_children_import_what_the_function_imports(stage: Any) -> None:
    actor = await stage.start("surroundings", "index.child_python")
    assert (await actor.invoke()).payload == b"index\n"


async def test_layers_come_after_the_code_and_earlier_ones_first(stage: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for layer, names in ((first, ["both"]), (second, ["both", "only_second", "index"])):
        (layer / "python").mkdir(parents=True)
        for name in names:
            (layer / "python" / f"{name}.py").touch()
    layers = {"layer_dirs": (first, second)}
    actor = await stage.start("surroundings", "index.imports", **layers)
    assert (await actor.invoke(b"both")).payload.startswith(stage.layer(first))
    assert (await actor.invoke(b"only_second")).payload.startswith(stage.layer(second))
    assert not (await actor.invoke(b"index")).payload.startswith(stage.layer(second))


async def test_threads_of_the_function(stage: Any) -> None:
    actor = await stage.start("threads")
    assert await actor.json(request_id="threaded") == [0, 1, 2, 3]
    assert len([line for line in actor.lines() if " threaded [INFO] thread " in line]) == 4
    named = await stage.start("threads", "index.names")
    assert await named.json() == ["MainThread"]


async def test_a_thread_that_never_stops_writing_does_not_hold_up_the_result(stage: Any) -> None:
    actor = await stage.start("threads", "index.background")
    assert (await actor.invoke()).payload == b"done"
    assert (await actor.invoke()).payload == b"done"


async def test_the_notice_precedes_each_call(stage: Any) -> None:
    actor = await stage.start("hello", setup={"notice": "another version stands in"})
    await actor.invoke()
    await actor.invoke()
    assert actor.lines() == ["another version stands in"] * 2


async def test_an_error_body_is_json_with_four_spaces_and_sorted_keys(stage: Any) -> None:
    actor = await stage.start("raises")
    reply = await actor.invoke(b"{}")
    body = json.loads(reply.payload)
    assert reply.payload.decode() == json.dumps(body, indent=4, sort_keys=True)


async def test_packages_of_the_runtime_and_of_a_user_base(stage: Any, tmp_path: Path) -> None:
    """The code wins over the user base, and that over what the runtime ships with; a user base's `.pth` files are read.

    What the runtime ships with is installed so that it needs none (`sandbox/runtimes/site_packages.py`).
    """
    major_minor = "2.7" if stage.py2 else None
    shipped, extra = tmp_path / "shipped", tmp_path / "extra"
    extra.mkdir()
    shipped.mkdir()
    (shipped / "both.py").touch()
    (shipped / "only_shipped.py").touch()
    (extra / "by_pth.py").touch()
    interpreter = stage.driver.resolve(stage.runtime).interpreter
    version = major_minor or interpreter.name.removeprefix("python")
    base = tmp_path / "base" / "lib" / f"python{version}" / "site-packages"
    base.mkdir(parents=True)
    (base / "both.py").touch()
    (base / "index.py").touch()
    (base / "more.pth").write_text(f"{extra}\n")
    resolve, launch = stage.driver.resolve, stage.driver.resolve(stage.runtime)
    stage.driver.resolve = lambda runtime: type(launch)(launch.interpreter, shipped)
    try:
        environment = {"PYTHONUSERBASE": str(tmp_path / "base"), "HOME": "/tmp"}
        actor = await stage.start("surroundings", "index.imports", environment=environment)
    finally:
        stage.driver.resolve = resolve
    assert (await actor.invoke(b"both")).payload.startswith(str(base).encode())
    assert (await actor.invoke(b"only_shipped")).payload.startswith(str(shipped).encode())
    assert (await actor.invoke(b"by_pth")).payload.startswith(str(extra).encode())
    assert b"functions/surroundings" in (await actor.invoke(b"index")).payload


async def test_a_handler_is_loaded_ahead_of_its_call_and_not_called(stage: Any) -> None:
    actor = await stage.start("raises")
    assert (await actor.invoke(kind="load")).ok
    assert actor.lines() == []
    assert not (await actor.invoke()).ok
    actor = await stage.start("broken_syntax")
    assert (await actor.error(kind="load"))["errorType"] == "UserCodeSyntaxError"


async def test_the_context_of_a_function_without_a_service(stage: Any) -> None:
    actor = await stage.start("context_alone", setup={"alone": True})
    seen = await actor.json(credentials=KEYS, qualifier="prod", version_id="7")
    newer = stage.runtime == "python3.12"
    assert seen["class"] == ["FCContext", "FunctionMeta"]
    assert (seen["same"], seen["plain"], seen["logger"], seen["qualifier"]) == (True, "fn", "root", "prod")
    plain = ["handler", "memory", "name", "timeout"]
    if newer:
        assert (seen["credentials"], seen["service"]) == (None, None)
        assert seen["function"] == sorted([*plain, "qualifier", "version_id"])
        assert seen["logs"] == ["project", "store"]
    else:
        assert (seen["credentials"], seen["logs"]) == ("STS.id", [None, None])
        assert (seen["function"], seen["service"]) == (plain, ["log_project", "log_store", "qualifier", "version_id"])
