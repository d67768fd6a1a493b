"""A Sesame for tests of unittest, as docs/testing.md shows it."""

import unittest
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


@pytest.mark.thorough
def test_the_example_of_the_page_passes() -> None:
    example = (
        PAGE.read_text().split("With unittest, one Sesame serves a class")[1].split("```python")[1].split("```")[0]
    )
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(example, str(PAGE), "exec"), names)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(names["Thumbs"]).run(result)
    assert (result.testsRun, result.errors, result.failures) == (1, [], [])
