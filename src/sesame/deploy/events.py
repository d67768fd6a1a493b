"""Parses function configurations and triggers in the forms that both kinds of templates share.

Used by `deploy.funcraft` and `deploy.serverless_devs`, whose keys differ in case and name; values go to the API.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sesame.deploy import api_values
from sesame.deploy.yaml_source import Key, Node
from sesame.model.function import LifecycleHook

# The API's trigger types by their names in templates, in lower case.
TRIGGER_TYPES: Mapping[str, str] = {
    "timer": "timer",
    "http": "http",
    "oss": "oss",
    "log": "log",
    "mnstopic": "mns_topic",
    "mns_topic": "mns_topic",
    "tablestore": "tablestore",
    "rds": "rds",
    "cdn": "cdn_events",
    "cdn_events": "cdn_events",
    "eventbridge": "eventbridge",
}
# Templates switch tracing on and off; the API needs the endpoint, which the cloud's Tracing Analysis would create.
NO_TRACING = (
    "the cloud's Tracing Analysis, whose endpoint it stands for, is not here: name a Jaeger in the service's "
    "tracingConfig through the API"
)


def texts(node: Node) -> list[str]:
    return [each.text() for each in node.items("a list of texts")]


def environment(node: Node) -> dict[str, str]:
    return {
        name: value.text("a value of a variable") for name, value in node.mapping().items() if value.value is not None
    }


def lower_keys(kind: Any) -> Callable[[Node], Any]:
    """Reads a value of the API's type, with the first letter of each key in lower case, the API's spelling."""
    read = api_values.of(kind)
    return lambda node: read(_lowered(node))


def _lowered(node: Node) -> Node:
    if isinstance(node.value, dict):
        return Node({name[:1].lower() + name[1:]: _lowered(value) for name, value in node.value.items()}, node.place)
    if isinstance(node.value, list):
        return Node([_lowered(each) for each in node.value], node.place)
    return node


hook = lower_keys(LifecycleHook)


def oss_filter(node: Node) -> dict[str, Any]:
    """Parses `Key: {Prefix, Suffix}`, ignoring case."""
    key: dict[str, str] = {}
    for name, value in node.mapping().items():
        if name.lower() != "key":
            raise value.refuse("Key with Prefix and Suffix")
        for side, text in value.mapping().items():
            if side.lower() not in ("prefix", "suffix"):
                raise text.refuse("Prefix or Suffix")
            if text.value is not None:
                key[side.lower()] = text.text()
    return {"key": key}


def destination(node: Node) -> dict[str, str]:
    return {"destination": node.text("an ARN or a URL")}


AUTH_TYPES = ("anonymous", "function", "jwt")


def auth_type(node: Node) -> str:
    return node.one_of(*AUTH_TYPES)


def auth_config(sent: Any) -> Any:
    """The configuration of token verification; Serverless Devs' lists become texts, as its own tool writes them."""
    if not isinstance(sent, dict):
        return sent
    return {name: _auth_texts(name.lower(), value) for name, value in sent.items()}


def _auth_texts(name: str, value: Any) -> Any:
    if not isinstance(value, list) or name not in ("tokenlookup", "claimpassby"):
        return value
    make = _lookup if name == "tokenlookup" else _passed_claim
    return [make(each) if isinstance(each, dict) else each for each in value]


def _lookup(entry: dict[str, Any]) -> str:
    place, name, prefix = (str(entry.get(key) or "") for key in ("readPosition", "parameterName", "prefix"))
    return f"{place}:{name}:{prefix}" if prefix and place == "header" else f"{place}:{name}"


def _passed_claim(entry: dict[str, Any]) -> str:
    keys = ("mappingParameterPosition", "claimName", "mappingParameterName")
    return ":".join(str(entry.get(key) or "") for key in keys)


def methods(node: Node) -> list[str]:
    return [text.upper() for text in texts(node)]


def any_case(table: Mapping[str, Key]) -> dict[str, Key]:
    """The table with the first letter of each key in either case, since templates use both."""
    small = {name[:1].lower() + name[1:]: key for name, key in table.items()}
    # The documentation's spelling comes last, so that messages suggest it.
    return {**small, **{name[:1].upper() + name[1:]: key for name, key in table.items()}}
