"""An address as text: of IPv6 it stands in brackets where a port or a path follows.

Used wherever an address becomes part of a URL, or of HOST:PORT.
"""


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def text_of(host: str, port: int) -> str:
    """HOST:PORT."""
    return f"{bracketed(host)}:{port}"
