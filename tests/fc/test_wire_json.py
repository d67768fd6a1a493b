"""Bodies as Go's decoder would read them, and complaints that name the field."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from sesame.fc import wire_json
from sesame.fc.refusals import InvalidArgument
from sesame.fc.services.inputs import CodeInput, FunctionInput, ServiceInput
from sesame.fc.wire_json import NESTING_MAX
from sesame.model.service import NasConfig, NasMountPoint, TracingConfig


def read_function(text: str) -> FunctionInput:
    return wire_json.decode(text.encode(), FunctionInput)


def refused(text: str | bytes, shape: type[msgspec.Struct] = FunctionInput) -> str:
    with pytest.raises(InvalidArgument) as caught:
        wire_json.decode(text if isinstance(text, bytes) else text.encode(), shape)
    return str(caught.value)


def test_keys_match_in_any_case_and_the_last_one_wins() -> None:
    assert read_function('{"MEMORYSIZE": 1, "memorysize": 2, "FunctionName": "f"}') == FunctionInput(
        memory_size=2, function_name="f"
    )


def test_keys_of_nested_objects_match_too() -> None:
    text = '{"NasConfig": {"UserId": 1, "groupid": 2, "MountPoints": [{"ServerAddr": "a", "mountdir": "b"}]}}'
    read = wire_json.decode(text.encode(), ServiceInput)
    assert read.nas_config == NasConfig(1, 2, (NasMountPoint("a", "b"),))


def test_null_is_absent_at_every_depth() -> None:
    read = read_function('{"description": null, "environmentVariables": null, "code": {"zipFile": null}}')
    assert read == FunctionInput(code=CodeInput())
    assert read.environment_variables is UNSET


def test_null_does_not_undo_an_earlier_value() -> None:
    assert read_function('{"timeout": 5, "Timeout": null}').timeout == 5


def test_an_empty_object_is_not_absent() -> None:
    read = wire_json.decode(b'{"tracingConfig": {}}', ServiceInput)
    assert read.tracing_config == TracingConfig()
    assert read.log_config is UNSET


def test_keys_of_maps_stay_as_sent() -> None:
    read = read_function('{"environmentVariables": {"Path": "1", "PATH": "2", "GONE": null}}')
    assert read.environment_variables == {"Path": "1", "PATH": "2"}


def test_free_form_objects_stay_as_sent() -> None:
    read = read_function('{"customDns": {"nameServers": null, "X": [1]}}')
    assert read.custom_dns == {"nameServers": None, "X": [1]}


def test_unknown_keys_are_ignored() -> None:
    assert read_function('{"whatever": [1, 2]}') == FunctionInput()


@pytest.mark.parametrize("body", ["", "  \n", "{}"])
def test_an_empty_body_is_an_empty_object(body: str) -> None:
    assert read_function(body) == FunctionInput()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"timeout": "60"}', "Timeout is set to an invalid value (allowed: integer, actual: '\"60\"')"),
        ('{"TIMEOUT": 1.5}', "Timeout is set to an invalid value (allowed: integer, actual: '1.5')"),
        ('{"handler": 7}', "Handler is set to an invalid value (allowed: string, actual: '7')"),
        ('{"layers": {}}', "Layers is set to an invalid value (allowed: array, actual: '{}')"),
        ('{"layers": ["a", 1]}', "Layers[1] is set to an invalid value (allowed: string, actual: '1')"),
        ('{"code": "zip"}', "Code is set to an invalid value (allowed: object, actual: '\"zip\"')"),
        ('{"code": {"zipfile": 1}}', "Code.ZipFile is set to an invalid value (allowed: string, actual: '1')"),
        (
            '{"environmentVariables": {"a.b": "x", "A": 1}}',
            "EnvironmentVariables[A] is set to an invalid value (allowed: string, actual: '1')",
        ),
        ("[]", "the request body is set to an invalid value (allowed: a JSON object, actual: '[]')"),
        ("null", "the request body is set to an invalid value (allowed: a JSON object, actual: 'null')"),
    ],
)
def test_wrong_types_name_the_field_what_was_found_and_what_was_expected(body: str, text: str) -> None:
    assert refused(body) == text


def test_long_values_are_cut_in_complaints() -> None:
    assert len(refused('{"timeout": "' + "x" * 5000 + '"}')) < 200


@pytest.mark.parametrize("body", ["{", "{'a': 1}", '{"a": }', "zip", '{"a": 1} x', '{"handler": "\\ud800"}'])
def test_broken_json(body: str) -> None:
    assert refused(body).startswith("the request body is not valid JSON")


def test_bytes_that_are_no_text() -> None:
    assert refused(b'{"handler": "\xff"}').startswith("the request body is not valid JSON")


def test_json_nested_without_end() -> None:
    assert "nested too deeply" in refused('{"a":' * 100_000)


@pytest.mark.parametrize("depth", [NESTING_MAX + 1, 200, 900])
def test_values_that_could_not_be_stored_are_refused(depth: int) -> None:
    for opened, closed in (("[", "]"), ('{"a":', "}")):
        value = opened * depth + "1" * (opened != "[") + closed * depth
        found = refused(f'{{"customRuntimeConfig": {{"a": {value}}}}}')
        assert found.startswith(
            "CustomRuntimeConfig is set to an invalid value (allowed: values nested at most 64 deep"
        )
        assert refused(value) if opened == "[" else read_or_refused(value.encode())


@pytest.mark.parametrize(
    "body",
    [
        '{"description": "a\\u0000b"}', '{"environmentVariables": {"a": "\\u0000"}}', '{"layers": ["x", "\\u0000"]}',
        '{"environmentVariables": {"\\u0000": "a"}}', '{"code": {"zipFile": "\\u0000"}}',
        '{"customRuntimeConfig": {"a": [{"b\\u0000": 1}]}}', '{"handler": "' + "x" * 5000 + '\\u0000"}',
    ],
)  # fmt: skip
def test_text_with_nul_characters_is_refused(body: str) -> None:
    found = refused(body)
    assert "is set to an invalid value (allowed: text without NUL characters, actual: " in found
    assert "\0" not in found
    assert len(found) < 250


@pytest.mark.parametrize(
    "number", ["1e400", "-1e400", "9" * 400, "9" * 5000, "-" + "9" * 5000, "1e30", "18446744073709551616"]
)
@pytest.mark.parametrize(
    "place", ['"timeout": %s', '"cpu": %s', '"customRuntimeConfig": {"a": %s}', '"code": {"zipFile": %s}']
)
def test_numbers_of_any_size_are_read_or_refused(place: str, number: str) -> None:
    assert read_or_refused(("{" + place % number + "}").encode())


def read_or_refused(body: bytes) -> bool:
    """False, or another exception, is a bug: what is read can be stored."""
    try:
        read = wire_json.decode(body, FunctionInput)
        return msgspec.json.decode(msgspec.json.encode(read), type=FunctionInput) == read
    except InvalidArgument as error:
        return bool(str(error))


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_read_or_refused(body: bytes) -> None:
    assert read_or_refused(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
known_keys = st.sampled_from(
    ["code", "Timeout", "environmentVariables", "LAYERS", "cpu", "customDNS", "instanceLifecycleConfig", "preFreeze"]
)


@given(st.dictionaries(known_keys, json_values))
def test_any_json_in_known_fields_is_read_or_refused(document: dict[str, object]) -> None:
    assert read_or_refused(msgspec.json.encode(document))
