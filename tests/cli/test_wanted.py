"""What options say of a folder's function: the runtime is guessed among the interpreters that the settings name."""

from pathlib import Path

import pytest

from sesame.cli.wanted import wanted
from sesame.model.errors import ConfigurationError
from sesame.settings import Settings

OPTIONS = {"name": "shop/buy", "handler": None, "runtime": None}
UNUSABLE = Settings(interpreters={"python3.10": Path("/nowhere/python3.10")})


def test_interpreters_of_the_settings_count() -> None:
    with pytest.raises(ConfigurationError, match=r"/nowhere/python3\.10"):
        wanted(OPTIONS, UNUSABLE)


def test_a_runtime_that_is_named_needs_no_interpreter() -> None:
    found = wanted({**OPTIONS, "runtime": "python3.12", "variables": ("A=1",)}, UNUSABLE)
    assert (found.service, found.function, found.runtime) == ("shop", "buy", "python3.12")
    assert (found.runtimes, found.environment, found.http) == ((), {"A": "1"}, None)
