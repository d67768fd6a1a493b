"""Texts of others, shortened to what is kept or shown of them.

Used wherever an error repeats what was sent, or is kept itself.
"""

CUT = "…"


def shortened(text: str, chars: int) -> str:
    """At most `chars` characters; one that was longer ends with "…", so that the cut is seen."""
    return text if len(text) <= chars else text[: chars - len(CUT)] + CUT
