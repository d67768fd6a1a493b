"""Formats addresses for URLs and HOST:PORT, where IPv6 addresses need brackets."""


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def text_of(host: str, port: int) -> str:
    """HOST:PORT."""
    return f"{bracketed(host)}:{port}"
