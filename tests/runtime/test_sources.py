"""What every interpreter of functions reads, from CPython 2.7 on."""

from pathlib import Path

import sesame.runtime

SOURCES = Path(sesame.runtime.__file__).parent


def test_sources_are_ascii() -> None:
    """One letter more, be it in a comment, and Python 2.7 reads no function: it knows no encoding but this one."""
    sources = sorted(SOURCES.rglob("*.py"))
    assert len(sources) > 20, f"hardly a source in {SOURCES}"
    assert [str(each) for each in sources if not each.read_bytes().isascii()] == []
