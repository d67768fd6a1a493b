"""`.vscode/launch.json`: written, merged into what users wrote, and never damaged.

Run by pytest.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sesame.dev.launch_json import Attach, Unreadable, configuration, merge, name_of, write

OWN = """// mine
{
    // keep me
    "version": "0.2.0",
    "configurations": [
        /* first */ {
            "name": "mine", // with a "quote" and a brace }
            "type": "debugpy",
            "args": ["//no comment", "/* nor this */", "\\"", ],
        },
    ],
    "compounds": [],
}
"""


def attach(folder: Path, port: int = 5678) -> Attach:
    return Attach("demo/hello", port, folder / "code", "/code")


def plain(text: str) -> dict[str, Any]:
    """As VS Code reads it: without comments and trailing commas. Strings of these tests hold neither."""
    without = re.sub(r"^\s*//.*$|(?<=[,{ ])//(?! ?no).*$", "", text, flags=re.MULTILINE)
    without = re.sub(r"/\* first \*/", "", without)
    return dict(json.loads(re.sub(r",(\s*[}\]])", r"\1", without)))


def test_a_new_file_attaches_to_the_function(tmp_path: Path) -> None:
    assert write(tmp_path, attach(tmp_path)) == ""
    found = json.loads((tmp_path / ".vscode" / "launch.json").read_text())
    assert found["configurations"] == [configuration(tmp_path, attach(tmp_path))]
    (made,) = found["configurations"]
    assert (made["request"], made["connect"]) == ("attach", {"host": "127.0.0.1", "port": 5678})
    assert made["pathMappings"] == [{"localRoot": "${workspaceFolder}/code", "remoteRoot": "/code"}]


def test_what_the_user_wrote_stays_to_the_letter(tmp_path: Path) -> None:
    file = tmp_path / ".vscode" / "launch.json"
    file.parent.mkdir()
    file.write_text(OWN)
    assert write(tmp_path, attach(tmp_path)) == ""
    text = file.read_text()
    before, after = OWN.split('"configurations": [')
    assert text.startswith(before)
    assert text.endswith(after)
    found = plain(text)
    assert [each["name"] for each in found["configurations"]] == [name_of("demo/hello"), "mine"]
    assert write(tmp_path, attach(tmp_path, port=6000)) == ""
    again = file.read_text()
    assert again == text.replace("5678", "6000"), "its own configuration is replaced in its place"
    assert write(tmp_path, attach(tmp_path, port=6000)) == ""
    assert file.read_text() == again


@pytest.mark.parametrize(
    "text",
    [
        '{"configurations": []}',
        '{"configurations":[]}',
        '{\n  "configurations": [\n  ]\n}\n',
        '{"configurations": [ /* none */ ],}',
    ],
)
def test_an_empty_list_is_filled(tmp_path: Path, text: str) -> None:
    wanted = configuration(tmp_path, attach(tmp_path))
    merged = re.sub(r"/\* none \*/|,(?=}$)", "", merge(text, wanted))
    assert json.loads(merged)["configurations"] == [wanted]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"configurations": 5}',
        '{"configurations": [}',
        '{"configurations": ["a" "b"]}',
        "{'configurations': []}",
        '{"configurations": [] /* open',
        '{"configurations": ["open\n"]}',
        "\x00",
        '{"configurations": [@]}',
    ],
)
def test_what_is_not_understood_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    file = tmp_path / ".vscode" / "launch.json"
    file.parent.mkdir()
    file.write_text(text)
    assert "was left as it is" in write(tmp_path, attach(tmp_path))
    assert file.read_text() == text


def test_a_deeply_nested_file_is_read_without_recursion(tmp_path: Path) -> None:
    text = '{"deep": ' + "[" * 5_000 + "]" * 5_000 + ', "configurations": []}'
    assert name_of("demo/hello") in merge(text, configuration(tmp_path, attach(tmp_path)))


_json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=40)
@given(
    rest=st.dictionaries(st.text().filter(lambda key: key != "configurations"), _json, max_size=3),
    configurations=st.lists(st.dictionaries(st.text(), _json, max_size=3), max_size=3),
    indent=st.sampled_from([None, 0, 2, 4]),
)
def test_any_file_keeps_its_other_values(
    rest: dict[str, object], configurations: list[dict[str, object]], indent: int | None
) -> None:
    wanted = configuration(Path("/p"), attach(Path("/p")))
    text = json.dumps({**rest, "configurations": configurations}, indent=indent)
    found = json.loads(merge(text, wanted))
    assert found == {**rest, "configurations": [wanted, *configurations]}
    assert json.loads(merge(merge(text, wanted), wanted)) == found


@settings(max_examples=100)
@given(st.text(alphabet='{}[],:"/*\\ \nac1', max_size=60))
def test_no_text_is_merged_wrongly_or_without_an_end(text: str) -> None:
    wanted = configuration(Path("/p"), attach(Path("/p")))
    try:
        assert name_of("demo/hello") in merge(text, wanted)
    except Unreadable:
        pass
