"""Which texts may name a destination of asynchronous invocations.

Used by `control.async_configs` to validate, by `destinations` to route, and by the settings.
"""

import re
from urllib.parse import urlsplit

from sesame.model import limits
from sesame.model.arn import Arns, FunctionArn, parse_function_arn
from sesame.model.owner import spoken_owner

WEB_SCHEMES = ("http", "https")
DESTINATION_CHARS_MAX = 2048
HOST_LABEL_CHARS_MAX = 63

_NAME = r"[A-Za-z0-9][A-Za-z0-9._%-]*"
# By service name in an ARN: the resources that records can be sent to, as a pattern and in words.
_RESOURCES = {
    "mns": (rf"/(?:queues|topics)/{_NAME}/messages", ("/queues/{queue}/messages", "/topics/{topic}/messages")),
    "mq": (rf"/instances/{_NAME}/topics?/{_NAME}(?:/messages)?", ("/instances/{instance}/topic/{topic}",)),
    "eventbridge": (rf"eventbus/{_NAME}", ("eventbus/{bus}",)),
}
_PATTERNS = {service: re.compile(pattern + r"\Z") for service, (pattern, _words) in _RESOURCES.items()}
_VERSION = re.compile(r"[0-9]+\Z")
_USER_INFO = re.compile(r"://[^\s]*@")


def is_web_url(text: str) -> bool:
    """Whether `text` is an absolute HTTP(S) URL in printable ASCII, with a host and without a fragment.

    POLICY: a URL with a user name or password is not accepted, because destinations are shown in many places.
    """
    if not text.isascii() or not text.isprintable() or " " in text or "#" in text:
        return False
    try:
        parts = urlsplit(text)
        # Reading `port` validates it.
        is_web = parts.scheme in WEB_SCHEMES and "@" not in parts.netloc and parts.port != 0
        return is_web and _is_host(parts.hostname or "")
    except ValueError:
        return False


def _is_host(name: str) -> bool:
    """Whether each label has a length that DNS allows; the last may be empty, for a name that ends with a point."""
    labels = name.removesuffix(".").split(".")
    return ":" in name or all(1 <= len(label) <= HOST_LABEL_CHARS_MAX for label in labels)


def without_password(text: str) -> str:
    """A destination as sent, with user name and password masked, for error messages."""
    return _USER_INFO.sub("://***@", text)


def expected_instead(destination: str, arns: Arns) -> str:
    """What to expect instead of a destination that can never be valid; "" for one that can.

    Whether the named resource exists is not checked: it may be created later.
    """
    if len(destination) > DESTINATION_CHARS_MAX or not destination.isprintable():
        return f"at most {DESTINATION_CHARS_MAX} printable characters"
    if destination.lower().startswith(tuple(f"{scheme}:" for scheme in WEB_SCHEMES)):
        return "" if is_web_url(destination) else "an HTTP(S) URL with a host, without user name, password and fragment"
    function = parse_function_arn(destination)
    if function is not None:
        return _expected_function(function, arns)
    scheme, service, region, account_id, resource = (*destination.split(":", 4), "", "", "", "")[:5]
    if (scheme, service) == ("acs", "fc") or destination.startswith(("services/", "functions/")):
        return _function_form(arns)
    if scheme != "acs" or service not in _RESOURCES:
        return f"{_function_form(arns)}, {_forms(arns, *_RESOURCES)}, or an HTTP(S) URL"
    if not _PATTERNS[service].match(resource):
        return _forms(arns, service)
    return _expected_place(region, account_id, arns)


def _expected_function(found: FunctionArn, arns: Arns) -> str:
    target = found.target
    named = (
        limits.SERVICE_NAME.match(spoken_owner(target.service))
        and limits.FUNCTION_NAME.match(target.function)
        and (_VERSION.match(target.qualifier) or limits.ALIAS_NAME.match(target.qualifier))
    )
    return _expected_place(found.region, found.account_id, arns) if named else _function_form(arns)


def _expected_place(region: str, account_id: str, arns: Arns) -> str:
    if arns.are_of(region, account_id):
        return ""
    return f"a destination of region {arns.region} and account {arns.account_id}, where both may be left empty"


def _function_form(arns: Arns) -> str:
    return arns.function("{service}[.{qualifier}]", "{function}")


def _forms(arns: Arns, *services: str) -> str:
    return ", ".join(
        f"acs:{service}:{arns.region}:{arns.account_id}:{form}"
        for service in services
        for form in _RESOURCES[service][1]
    )
