"""How services, functions and triggers are named to callers: the owner of a single function is never shown."""

import pytest

from sesame.model.owner import label, owner_phrase, service_of, trigger_label


@pytest.mark.parametrize(
    ("owner", "qualifier", "shown"),
    [
        ("s", "", "s/f"),
        ("s", "LATEST", "s/f"),
        ("s", "prod", "s/f:prod"),
        ("$f", "LATEST", "f"),
        ("$f", "1", "f:1"),
        ("", "1", "f:1"),
    ],
)
def test_a_function_has_the_name_that_commands_take(owner: str, qualifier: str, shown: str) -> None:
    assert label(owner, "f", qualifier) == shown


def test_what_belongs_to_no_service_names_none() -> None:
    assert (service_of("s"), service_of("$f")) == ("s", "")
    assert (owner_phrase("s"), owner_phrase("$f")) == ("service 's'", "function 'f'")
    assert (trigger_label("s/f", "t"), trigger_label("$f/f", "t")) == ("s/f/t", "f/t")
