"""Shortens foreign texts before they are stored or shown, such as a request's text in an error."""

CUT = "…"


def shortened(text: str, chars: int) -> str:
    """At most `chars` characters; a longer text is cut and ends with "…"."""
    return text if len(text) <= chars else text[: chars - len(CUT)] + CUT
