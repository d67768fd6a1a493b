"""What may be named as the destination of asynchronous invocations.

Used by `control.async_configs` to check, by `destinations` to route, and by the settings.
"""

from urllib.parse import urlsplit

WEB_SCHEMES = ("http", "https")
DESTINATION_CHARS_MAX = 2048


def is_web_url(text: str) -> bool:
    """Whether this is an absolute URL of a web server: http or https, a host, printable ASCII, no fragment."""
    if not text.isascii() or not text.isprintable() or " " in text or "#" in text:
        return False
    try:
        parts = urlsplit(text)
        # Reading the port checks it.
        return parts.scheme in WEB_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
