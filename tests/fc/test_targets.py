"""Whom a path means."""

import gc
import tracemalloc
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesame.fc import targets
from sesame.fc.refusals import InvalidArgument
from sesame.model.invocation import Target


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/2016-08-15/services/s/functions/f/invocations", Target("s", "LATEST", "f")),
        ("/2016-08-15/services/s.7/functions/f/invocations", Target("s", "7", "f")),
        ("/2016-08-15/services/s.a.b/functions/f/invocations", Target("s", "a.b", "f")),
        ("/2016-08-15/services/s%2E1/functions/f/invocations", Target("s", "1", "f")),
        ("/2021-04-06/services/s/functions/f/invocations", None),
        ("2016-08-15/services/s/functions/f/invocations/", None),
        ("/2016-08-15/services/s/functions/f/invocations/", None),
        ("/2016-08-15/services/s/triggers/f/invocations", None),
        ("/x/2016-08-15/services/s/functions/f/invocations", None),
    ],
)
def test_paths_of_invocations(path: str, target: Target | None) -> None:
    assert targets.invoked(path.encode()) == target


def test_an_empty_qualifier_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(InvalidArgument, match="Qualifier"):
            targets.invoked(b"/2016-08-15/services/s./functions/f/invocations")


@pytest.mark.parametrize("path", ["s%00/functions/f", "s.%00/functions/f", "s/functions/f%00"])
def test_names_with_nul_characters_are_refused(path: str) -> None:
    with pytest.raises(InvalidArgument, match="text without NUL characters"):
        targets.invoked(f"/2016-08-15/services/{path}/invocations".encode())


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=10)


@given(names.filter(lambda name: "." not in name), names, names)
def test_any_name_survives_its_escaping(service: str, qualifier: str, function: str) -> None:
    whole = f"{service}.{qualifier}"
    path = f"/2016-08-15/services/{quote(whole, safe='')}/functions/{quote(function, safe='')}/invocations"
    assert targets.invoked(path.encode()) == Target(service, qualifier, function)


def test_what_is_remembered_of_paths_is_bounded_by_bytes() -> None:
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(6000):
        assert (
            targets.invoked(b"/2016-08-15/services/s/functions/%d%b/invocations" % (number, b"f" * 100_000)) is not None
        )
        assert targets.invoked(b"/2016-08-15/services/s/functions/%d%b/invocations" % (number, b"f" * 300)) is not None
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 8 * 1024 * 1024
