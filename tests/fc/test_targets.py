"""Whom a path means."""

import gc
import tracemalloc
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesame.fc.refusals import ApiError, InvalidArgument
from sesame.fc.targets import Naming, Place, QualifierInPath, QualifierInQuery
from sesame.model.invocation import Target

PATH, QUERY = QualifierInPath(), QualifierInQuery()


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/2016-08-15/services/s/functions/f/invocations", Target("s", "LATEST", "f")),
        ("/2016-08-15/services/s.7/functions/f/invocations", Target("s", "7", "f")),
        ("/2016-08-15/services/s.a.b/functions/f/invocations", Target("s", "a.b", "f")),
        ("/2016-08-15/services/s%2E1/functions/f/invocations", Target("s", "1", "f")),
        ("2016-08-15/services/s/functions/f/invocations/", None),
        ("/2016-08-15/services/s/functions/f/invocations/", None),
        ("/2016-08-15/services/s/triggers/f/invocations", None),
        ("/x/2016-08-15/services/s/functions/f/invocations", None),
    ],
)
def test_paths_of_invocations(path: str, target: Target | None) -> None:
    assert PATH.invoked(path.encode(), b"") == target


def test_an_empty_qualifier_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(InvalidArgument, match="Qualifier"):
            PATH.invoked(b"/2016-08-15/services/s./functions/f/invocations", b"")


@pytest.mark.parametrize("path", ["s%00/functions/f", "s.%00/functions/f", "s/functions/f%00"])
def test_names_with_nul_characters_are_refused(path: str) -> None:
    with pytest.raises(InvalidArgument, match="text without NUL characters"):
        PATH.invoked(f"/2016-08-15/services/{path}/invocations".encode(), b"")


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=10)


@given(names.filter(lambda name: "." not in name and not name.startswith("$")), names, names)
def test_any_name_survives_its_escaping(service: str, qualifier: str, function: str) -> None:
    whole = f"{service}.{qualifier}"
    path = f"/2016-08-15/services/{quote(whole, safe='')}/functions/{quote(function, safe='')}/invocations"
    assert PATH.invoked(path.encode(), b"") == Target(service, qualifier, function)


def test_what_is_remembered_of_paths_is_bounded_by_bytes() -> None:
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(2000):
        for naming in (PATH, QUERY):
            for chars in (100_000, 300):
                path = b"/2016-08-15/services/s/functions/%d%b/invocations" % (number, b"f" * chars)
                assert naming.invoked(path, b"") is not None
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 12 * 1024 * 1024


@pytest.mark.parametrize(
    ("query", "qualifier"),
    [
        ("", "LATEST"),
        ("qualifier=", "LATEST"),
        ("qualifier=7", "7"),
        ("a=b&qualifier=live&c", "live"),
        ("%71ualifier=l%69ve", "live"),
        ("qualifier=7&qualifier=7", "7"),
        ("other=7", "LATEST"),
    ],
)
def test_qualifiers_in_queries(query: str, qualifier: str) -> None:
    path = b"/2021-04-06/services/s.x/functions/f/invocations"
    assert QUERY.invoked(path, query.encode()) == Target("s.x", qualifier, "f")
    named = ["services", "s"] if qualifier == "LATEST" else ["services", f"s.{qualifier}"]
    assert QUERY.resource(["services", "s"], query.encode()) == named
    assert QUERY.resource(["tags", "s"], query.encode()) == ["tags", "s"]


@pytest.mark.parametrize("query", ["qualifier=1&qualifier=2", "qualifier=%00"])
def test_queries_that_name_no_single_qualifier_are_refused(query: str) -> None:
    with pytest.raises(InvalidArgument, match="Qualifier"):
        QUERY.invoked(b"/2021-04-06/services/s/functions/f/invocations", query.encode())


@pytest.mark.parametrize(
    ("path", "query", "place"),
    [
        ("services/s.1/functions/f/instances/i/exec", "", Place(Target("s", "1", "f"), "i")),
        ("services/s/functions/f/instances/i%2Fj/exec", "command=ls", Place(Target("s", "LATEST", "f"), "i/j")),
        ("services/s/functions/f/instances/i", "", None),
        ("functions/f/instances/i/exec", "", None),
    ],
)
def test_instances_in_paths(path: str, query: str, place: Place | None) -> None:
    assert PATH.instance(b"/2016-08-15/" + path.encode(), query.encode()) == place


def test_instances_of_a_qualifier_in_the_query() -> None:
    path = b"/2021-04-06/services/s/functions/f/instances/i/exec"
    assert QUERY.instance(path, b"command=ls&qualifier=live") == Place(Target("s", "live", "f"), "i")


@pytest.mark.parametrize("naming", [PATH, QUERY])
@pytest.mark.parametrize("path", ["$f", "%24f.1"])
def test_the_owner_of_a_single_function_is_no_service(naming: Naming, path: str) -> None:
    with pytest.raises(ApiError):
        naming.invoked(f"/2016-08-15/services/{path}/functions/f/invocations".encode(), b"")
    with pytest.raises(ApiError):
        naming.qualified("$f", b"")
