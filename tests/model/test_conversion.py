"""What does not fit is refused in our own words: the field, what was expected, what was found."""

from typing import Annotated, Any

import msgspec
import pytest

from sesame.fc.wording import worded
from sesame.model.conversion import converted, described
from sesame.model.errors import Rejected


class Inner(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    some_name: str = ""
    port: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5
    few: Annotated[tuple[int, ...], msgspec.Meta(max_length=2)] = ()
    short: Annotated[str, msgspec.Meta(min_length=1, max_length=3, pattern="^[ab]*$")] = "a"
    step: Annotated[int, msgspec.Meta(multiple_of=5)] = 0


class Shape(msgspec.Struct, rename="camel"):
    inner_ones: tuple[Inner, ...] = ()
    by_key: dict[str, int] = {}
    by_number: dict[int, str] = {}
    either: int | str | None = None
    pair: tuple[int, int] = (0, 0)
    named: Inner | None = None
    needed: Any = msgspec.UNSET


class Needing(msgspec.Struct, rename="camel"):
    the_name: str


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (5, "Config is set to an invalid value (allowed: object, actual: '5')"),
        (
            {"innerOnes": [{"someName": 5}]},
            "Config.InnerOnes[0].SomeName is set to an invalid value (allowed: string, ",
        ),
        (
            {"byKey": {"a.b_c": "x"}},
            "Config.ByKey[a.b_c] is set to an invalid value (allowed: integer, actual: '\"x\"')",
        ),
        ({"byNumber": {"x": "y"}}, "Config.ByNumber is set to an invalid value (allowed: keys that are integer"),
        ({"either": []}, "Config.Either is set to an invalid value (allowed: integer or string, actual: '[]')"),
        ({"pair": [1]}, "Config.Pair is set to an invalid value (allowed: exactly 2 items, actual: '[1]')"),
        (
            {"named": {"other": 1}},
            "Config.Named is set to an invalid value (allowed: an object without unknown fields, ",
        ),
        ({"named": {"port": 0}}, "Config.Named.Port is set to an invalid value (allowed: at least 1, actual: '0')"),
        ({"named": {"port": 10}}, "(allowed: at most 9, actual: '10')"),
        ({"named": {"share": 0}}, "(allowed: above 0.0, actual: '0')"),
        ({"named": {"share": 1}}, "(allowed: below 1.0, actual: '1')"),
        ({"named": {"few": [1, 2, 3]}}, "(allowed: at most 2 items, actual: '[1,2,3]')"),
        ({"named": {"short": ""}}, "(allowed: at least 1 characters, actual: '\"\"')"),
        ({"named": {"short": "c"}}, "(allowed: text that matches ^[ab]*$, actual: '\"c\"')"),
        ({"named": {"step": 3}}, "(allowed: a multiple of 5, actual: '3')"),
    ],
)
def test_a_refusal_says_what_was_found_and_what_was_expected(sent: Any, said: str) -> None:
    with pytest.raises(Rejected) as caught:
        converted(sent, Shape, "config")
    text = str(worded(caught.value))
    assert said in text
    assert "`" not in text
    assert "$" not in text.replace("*$,", "")


def test_a_missing_field_is_named() -> None:
    with pytest.raises(Rejected) as caught:
        converted([{"theName": "a"}, {}], list[Needing], "items")
    assert str(worded(caught.value)) == "Items[1].TheName is required but not provided"


def test_what_fits_is_returned() -> None:
    assert converted({"innerOnes": [{"port": 2}]}, Shape, "").inner_ones == (Inner(port=2),)


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({"innerOnes": [{"someName": 5}]}, "innerOnes[0].someName: expected string"),
        ({"named": {"port": 0}}, "named.port: expected at least 1"),
        ({"byKey": {"a": "x"}}, "byKey[...]: expected integer"),
        (5, "the value: expected object"),
    ],
)
def test_of_stored_settings_the_field_and_what_was_expected_are_told(stored: Any, said: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(stored, Shape)
    assert described(caught.value) == said


def test_an_error_of_our_own_keeps_its_text() -> None:
    assert described(msgspec.ValidationError("sessionAffinity is 'MCP'")) == "sessionAffinity is 'MCP'"
