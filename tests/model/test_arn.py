"""The long names of functions, in every form that an API has for one."""

import pytest

from sesame.model.arn import Arns, parse_function_arn
from sesame.model.invocation import Target
from sesame.model.owner import named_function, owner_of, spoken_function

ARNS = Arns("cn-hangzhou", "123")


@pytest.mark.parametrize(
    ("arn", "target"),
    [
        ("acs:fc:cn-hangzhou:123:services/s/functions/f", Target("s", "LATEST", "f")),
        ("acs:fc:cn-hangzhou:123:services/s.1/functions/f", Target("s", "1", "f")),
        ("services/s/functions/f", Target("s", "LATEST", "f")),
        ("acs:fc:cn-hangzhou:123:functions/s$f", Target("s", "LATEST", "f")),
        ("acs:fc:cn-hangzhou:123:functions/s$f/prod", Target("s", "prod", "f")),
        ("acs:fc:cn-hangzhou:123:functions/f", Target("$f", "LATEST", "f")),
        ("functions/f/prod", Target("$f", "prod", "f")),
    ],
)
def test_forms_of_a_function(arn: str, target: Target) -> None:
    found = parse_function_arn(arn)
    assert found is not None
    assert found.target == target


@pytest.mark.parametrize("arn", ["services/$f/functions/f", "functions/$f", "functions/s$", "services/s", "f"])
def test_what_is_no_function(arn: str) -> None:
    assert parse_function_arn(arn) is None


def test_a_function_that_stands_alone_is_no_service() -> None:
    assert ARNS.own_service("services/$f") is None
    assert ARNS.owner(owner_of("f")) == "acs:fc:cn-hangzhou:123:functions/f"
    assert ARNS.owner("s") == "acs:fc:cn-hangzhou:123:services/s"


def test_a_policy_names_a_function_in_one_way() -> None:
    assert ARNS.of_target(Target("s", "LATEST", "f")).endswith(":services/s/functions/f")
    assert ARNS.of_target(Target("$f", "LATEST", "f")).endswith(":functions/f")
    assert ARNS.of_target(Target("$f", "prod", "f")).endswith(":functions/f/prod")
    assert ARNS.spoken_function("s", "f").endswith(":functions/s$f")
    assert ARNS.spoken_function("$f", "f", "1").endswith(":functions/f/1")
    assert ARNS.spoken_function("$f", "f", "LATEST").endswith(":functions/f")


@pytest.mark.parametrize("owner", ["s", owner_of("f")])
def test_names_are_read_as_they_are_spoken(owner: str) -> None:
    assert named_function(spoken_function(owner, "f")) == (owner, "f")
