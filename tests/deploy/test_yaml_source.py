"""Nodes know their places, and every error of a template is told with file, line and column."""

from typing import Any

import pytest

from sesame.deploy import yaml_source
from sesame.deploy.project import Note, Place, TemplateError
from sesame.deploy.yaml_source import Key, Node

TABLE = {"Timeout": Key("timeout", Node.integer), "Handler": Key("handler", Node.text), "Vpc": Key(why="there is none")}


def test_a_value_and_its_key_know_their_places() -> None:
    root = yaml_source.parse("a:\n  bb: [1, x]\n", "t.yml")
    inner = root.mapping()["a"]
    assert (inner.keys["bb"].line, inner.keys["bb"].column) == (2, 3)
    assert str(inner.mapping()["bb"].items()[1].place) == "t.yml:2:11"


def test_all_errors_of_a_mapping_are_told_at_once() -> None:
    notes: list[Note] = []
    root = yaml_source.parse("Handler: a.b\nTimeot: 3\nTimeout: soon\nVpc: x\n", "t.yml")
    assert yaml_source.fields(root, TABLE, notes, "a function") == {"handler": "a.b"}
    assert [(str(note.place), note.error) for note in notes] == [
        ("t.yml:2:1", True), ("t.yml:3:10", True), ("t.yml:4:1", False),
    ]  # fmt: skip
    assert "did you mean 'Timeout'?" in notes[0].text
    assert "found 'soon', expected a whole number" in notes[1].text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "is no YAML"),
        ("a: 1\na: 2\n", "the key 'a' stands here twice"),
        ("? [1, 2]\n: 3\n", "expected text"),
        ("a: *b\n", "is no YAML"),
        (b"\xff\xfe\x00", "is no YAML"),
        ("x: " + "[" * 80 + "]" * 80, "nested deeper"),
    ],
)
def test_what_is_no_template_is_refused_with_its_place(text: str | bytes, said: str) -> None:
    with pytest.raises(TemplateError, match=r"^t\.yml") as refused:
        yaml_source.parse(text, "t.yml")
    assert said in str(refused.value)


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(TemplateError, match="more than 200000 values"):
        yaml_source.parse("\n".join(lines), "t.yml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("no", "no"), ("12:30", "12:30"), ("=", "="), ("2020-01-01", "2020-01-01"), ("1_000", "1_000"),
        ("True", True), ("Null", None), ("", None), ("017", 17), ("08", 8), ("0o17", 15), ("-0x1F", -31), ("0b11", 3),
        ("1.0", 1), ("128.0", 128), ("1e3", 1000), ("1.5e-3", 0.0015), (".5", 0.5), ("3.10", 3.1), ("'1.0'", "1.0"),
        ("!!str 1.0", "1.0"), ("!!int '7'", 7),
    ],
)  # fmt: skip
def test_scalars_are_what_the_templates_own_tools_read(text: str, value: Any) -> None:
    found = yaml_source.parse(f"a: {text}\n", "t.yml").plain()["a"]
    assert (found, type(found)) == (value, type(value))


def test_a_scalar_that_is_not_what_its_tag_says_is_refused_with_its_place() -> None:
    with pytest.raises(TemplateError, match=r"t\.yml:1:4: cannot be read: 'on' is neither true nor false"):
        yaml_source.parse("a: !!bool on\n", "t.yml")


def test_merged_keys_are_outweighed_by_own_ones() -> None:
    root = yaml_source.parse("base: &b {x: 1, y: 2}\nown:\n  <<: *b\n  y: 3\n", "t.yml")
    assert root.mapping()["own"].plain() == {"x": 1, "y": 3}


def test_quotes_may_be_left_out_as_people_leave_them_out() -> None:
    root = yaml_source.parse("a: '30'\nb: true\nc: 1.5\nd: 2020-01-01\n", "t.yml").mapping()
    assert root["a"].integer() == 30
    assert [root[name].text() for name in "bcd"] == ["true", "1.5", "2020-01-01"]


@pytest.mark.parametrize("text", ["--5", "'--5'", "9" * 5000, "0x" + "f" * 5000, f"'{'9' * 30}'", "٣", "''"])
def test_what_is_no_whole_number_of_64_bits_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(TemplateError, match=r"t.yml:1:4: found .*, expected a whole number"):
        yaml_source.parse(f"a: {text}\n", "t.yml").mapping()["a"].integer()


def test_a_long_number_without_quotes_keeps_its_digits_as_a_text() -> None:
    root = yaml_source.parse(f"a: {'9' * 5000}\nb: {'9' * 30}\n", "t.yml").mapping()
    assert (root["a"].text(), root["b"].text()) == ("9" * 5000, "9" * 30)
    for node in (root["a"], yaml_source.parse("1e999", "t.yml"), yaml_source.parse(".nan", "t.yml")):
        with pytest.raises(TemplateError, match="expected a number"):
            node.number()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: b\t# c\n", {"a": "b"}),
        ("a: b\t\n", {"a": "b"}),
        ("a: b \t\nc: d\n", {"a": "b", "c": "d"}),
        ("a:\tb\n", {"a": "b"}),
        ('a: "b"\t\n', {"a": "b"}),
        ('"a"\t: b\n', {"a": "b"}),
        ("a\t: b\n", {"a": "b"}),
        ("- a\t\n- b\n", ["a", "b"]),
        ("-\ta\n", ["a"]),
        ("a: [b,\tc\t]\n", {"a": ["b", "c"]}),
        ("a: [\n\tb\n]\n", {"a": ["b"]}),
        ("a: {b:\tc}\n", {"a": {"b": "c"}}),
        ("a:\t\n  b: c\n", {"a": {"b": "c"}}),
        ("a: b \t c\n", {"a": "b \t c"}),
        ("a: b\tc\n", {"a": "b\tc"}),
        ("a:\n  b: c\n\t\n  d: e\n", {"a": {"b": "c", "d": "e"}}),
        ("a: b\n\t# c\nd: e\n", {"a": "b", "d": "e"}),
        ("a: b\t\n  c\n", {"a": "b c"}),
        ("a: b\n  \tc\n", {"a": "b c"}),
        ("a: &x\t1\n", {"a": 1}),
        ("? a\t\n: b\n", {"a": "b"}),
    ],
)
def test_tabs_may_stand_between_tokens_and_at_ends_of_lines(text: str, expected: Any) -> None:
    """As the tools read them that templates are written for: these are the values of js-yaml 4."""
    assert yaml_source.parse(text, "s.yaml").plain() == expected


@pytest.mark.parametrize("text", ["\ta: b\n", "a:\n\tb: c\n", "a:\n  b: c\n\td: e\n", "a:\n  b:\n    c: d\n\te: f\n"])
def test_tabs_are_no_indentation(text: str) -> None:
    with pytest.raises(TemplateError, match="is no YAML: found character '\\\\t' that cannot start any token"):
        yaml_source.parse(text, "s.yaml")


@pytest.mark.parametrize(
    ("place", "said"), [(Place("f"), "f"), (Place("f", 3), "f:3"), (Place("f", 3, 7), "f:3:7")], ids=str
)
def test_a_place_names_what_is_known_of_it(place: Place, said: str) -> None:
    assert str(place) == said


def test_a_placeholder_in_braces_is_told_as_one() -> None:
    node = yaml_source.parse("name: {your trigger}\n", "s.yaml").mapping()["name"]
    with pytest.raises(
        TemplateError, match=r"found \{your trigger\}, expected text in place of what the braces stand for"
    ):
        node.text()
    with pytest.raises(TemplateError, match=r"found a mapping, expected text$"):
        yaml_source.parse("a: {b: 1}\n", "s.yaml").mapping()["a"].text()


@pytest.mark.parametrize(
    "text",
    [
        "a: &a\n  <<: *a\n",
        "m0: &m0 {a: 1}\n" + "".join(f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 20)}]}}\n" for n in range(1, 8)),
        "m0: &m0 {a: 1}\n" + "".join(f"m{n}: &m{n} {{<<: *m{n - 1}}}\n" for n in range(1, 80)),
    ],
)
def test_merged_keys_that_multiply_or_merge_themselves_are_refused(text: str) -> None:
    with pytest.raises(TemplateError, match="more than 200000 values, or nested deeper"):
        yaml_source.parse(text, "t.yml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: {<<: 5}\n", "t.yml:1:9: found what is no mapping under <<"),
        ("a: {<<: [{b: 1}, x]}\n", "t.yml:1:18: found what is no mapping under <<"),
        ('a: "\\ud800"\n', "t.yml:1:4: found text that is not valid Unicode"),
        ('"\\ud800": a\n', "t.yml:1:1: found text that is not valid Unicode"),
    ],
)
def test_what_could_not_be_sent_or_would_be_lost_is_refused(text: str, said: str) -> None:
    with pytest.raises(TemplateError) as refused:
        yaml_source.parse(text, "t.yml")
    assert said in str(refused.value)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_end_as_any_editor_ends_them(newline: str) -> None:
    text = "\ufeffa:\n  - b: 1\n    c: d\n".replace("\n", newline)
    assert yaml_source.parse(text, "t.yml").plain() == {"a": [{"b": 1, "c": "d"}]}
