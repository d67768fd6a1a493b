"""Tags and CORS rules of a bucket, and the answers for settings that Sesame does not support.

Routed to by `oss.routes`; `oss.cors` applies the CORS rules. Settings without an effect are never stored.
"""

from collections.abc import Awaitable, Callable
from xml.etree.ElementTree import Element

from sesame.model.bucket import CorsRule
from sesame.model.natural import natural
from sesame.oss import xml
from sesame.oss.access_settings import change_bucket
from sesame.oss.answers import Answer, xml_answer
from sesame.oss.calls import Call
from sesame.oss.errors import OssError, invalid_argument
from sesame.oss.object_properties import tag_set

TAGS_MAX, TAG_NAME_CHARS_MAX, TAG_VALUE_CHARS_MAX = 20, 64, 128
CORS_RULES_MAX, CORS_MAX_AGE_S_MAX = 10, 999_999_999
CORS_METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")


async def get_tags(call: Call) -> Answer:
    return xml_answer("Tagging", [tag_set(call.bucket.tags)])


async def put_tags(call: Call) -> Answer:
    root = await xml.read(call.body, "Tagging")
    pairs = [(xml.text(tag, "Key"), xml.text(tag, "Value")) for tag in root.findall("TagSet/Tag")]
    tags = dict(pairs)
    sound = all(1 <= len(n) <= TAG_NAME_CHARS_MAX and len(v) <= TAG_VALUE_CHARS_MAX for n, v in pairs)
    if not sound or len(pairs) > TAGS_MAX or len(tags) < len(pairs):
        raise invalid_argument("Tagging", str(pairs))
    await change_bucket(call, tags=tags)
    return Answer()


async def delete_tags(call: Call) -> Answer:
    """Deletes all tags, or those in `tagging=a,b`."""
    named = call.request.query["tagging"]
    deleted = named.split(",") if named else list(call.bucket.tags)
    await change_bucket(call, tags={name: value for name, value in call.bucket.tags.items() if name not in deleted})
    return Answer(status=204)


async def get_cors(call: Call) -> Answer:
    if not call.bucket.cors:
        raise OssError("NoSuchCORSConfiguration", details={"BucketName": call.bucket.bucket_name})
    rules: list[xml.Element] = [("CORSRule", _rule_elements(rule)) for rule in call.bucket.cors]
    return xml_answer("CORSConfiguration", [*rules, ("ResponseVary", call.bucket.cors_varies)])


async def put_cors(call: Call) -> Answer:
    root = await xml.read(call.body, "CORSConfiguration")
    rules = tuple(_read_rule(element) for element in root.findall("CORSRule"))
    if not 1 <= len(rules) <= CORS_RULES_MAX:
        raise OssError("MalformedXML")
    await change_bucket(call, cors=rules, cors_varies=xml.flag(root, "ResponseVary"))
    return Answer()


async def delete_cors(call: Call) -> Answer:
    await change_bucket(call, cors=(), cors_varies=False)
    return Answer(status=204)


def unset(name: str, content: xml.Content = ()) -> Callable[[Call], Awaitable[Answer]]:
    """Answers for a setting that is never set and that the API then describes as empty."""

    async def answer(_call: Call) -> Answer:
        return xml_answer(name, content)

    return answer


def missing(code: str) -> Callable[[Call], Awaitable[Answer]]:
    """Answers for a setting that is never set and that the API then reports as missing."""

    async def answer(call: Call) -> Answer:
        raise OssError(code, details={"BucketName": call.bucket.bucket_name})

    return answer


async def nothing_to_delete(_call: Call) -> Answer:
    return Answer(status=204)


def _read_rule(element: Element) -> CorsRule:
    def texts(name: str) -> tuple[str, ...]:
        return tuple(child.text or "" for child in element.findall(name))

    # One of the official SDKs writes methods in lower case; header names are case-insensitive.
    rule = CorsRule(
        origins=texts("AllowedOrigin"),
        methods=tuple(method.upper() for method in texts("AllowedMethod")),
        headers=tuple(header.lower() for header in texts("AllowedHeader")),
        exposed=texts("ExposeHeader"),
        max_age_s=_max_age(xml.text(element, "MaxAgeSeconds")),
    )
    if not rule.origins or not rule.methods:
        raise OssError("MalformedXML")
    for method in rule.methods:
        if method not in CORS_METHODS:
            raise invalid_argument("AllowedMethod", method)
    for name, values, stars in (
        ("AllowedOrigin", rule.origins, 1),
        ("AllowedHeader", rule.headers, 1),
        ("ExposeHeader", rule.exposed, 0),
    ):
        for value in values:
            if value.count("*") > stars or not value.isprintable():
                raise invalid_argument(name, value)
    return rule


def _max_age(text: str) -> int | None:
    if not text:
        return None
    seconds = natural(text, CORS_MAX_AGE_S_MAX)
    if seconds is None:
        raise invalid_argument("MaxAgeSeconds", text)
    return seconds


def _rule_elements(rule: CorsRule) -> list[xml.Element]:
    return [
        *(("AllowedOrigin", origin) for origin in rule.origins),
        *(("AllowedMethod", method) for method in rule.methods),
        *(("AllowedHeader", header) for header in rule.headers),
        *(("ExposeHeader", header) for header in rule.exposed),
        ("MaxAgeSeconds", rule.max_age_s) if rule.max_age_s is not None else None,
    ]
