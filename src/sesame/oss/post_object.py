"""PostObject: an upload by a browser's form, under a policy signed by the page's owner.

Routed to by `oss.routes`. Stores nothing before it has checked the policy, the signature and the right to the key.
"""

import hmac
from urllib.parse import quote, urlsplit

import msgspec

from sesame.identity.authentication import ANONYMOUS_CALLER, Caller
from sesame.model.object import Written
from sesame.model.object_event import POST_OBJECT
from sesame.oss.access_rules import check_payer, check_public_acl, check_referer
from sesame.oss.answers import Answer, xml_answer
from sesame.oss.calls import Call
from sesame.oss.errors import OssError, invalid_argument
from sesame.oss.form import Form
from sesame.oss.metadata import meta_of
from sesame.oss.permissions import AccessRequest
from sesame.oss.post_policy import (
    Policy,
    check_fields,
    check_signature,
    failed,
    file_digest,
    length_range,
    read_policy,
    signed,
)
from sesame.oss.request import check_key
from sesame.oss.writing import OBJECT_BYTES_MAX, may_overwrite, new_object, written_headers

_FILENAME = "${filename}"
_STATUSES = (200, 201, 204)
_UNDERSTOOD = frozenset(
    {
        "x-oss-object-acl", "x-oss-storage-class", "x-oss-tagging", "x-oss-forbid-overwrite", "x-oss-security-token",
        "x-oss-signature-version", "x-oss-credential", "x-oss-date", "x-oss-signature", "x-oss-content-type",
        "x-oss-request-payer", "x-oss-persistent-headers",
    }
)  # fmt: skip


async def post_object(call: Call) -> Answer:
    form = Form(call.body, call.request.header("content-type"))
    await form.open()
    fields = form.fields
    _check_understood(fields)
    if fields.get("success_action_redirect"):
        _check_target(fields["success_action_redirect"])
    key = fields.get("key", "").replace(_FILENAME, form.filename.rpartition("/")[2].rpartition("\\")[2])
    check_key(key)
    caller, policy = await _prove(call, {**fields, "key": key, "bucket": call.bucket.bucket_name})
    headers = {**fields, "content-type": fields.get("x-oss-content-type") or fields.get("content-type", "")}
    request = msgspec.structs.replace(call.request, key=key, headers=headers)
    upload = msgspec.structs.replace(call, request=request, caller=caller)
    check_referer(msgspec.structs.replace(call.request, key=key), call.bucket)
    check_payer(request, caller, call.bucket)
    check_public_acl(request, call.dependencies.buckets, call.bucket)
    await upload.require(AccessRequest("oss:PutObject", call.bucket, key))
    meta = meta_of(request, call.bucket)
    written = await _receive(call, form, policy)
    stored = new_object(upload, written, meta)
    await call.dependencies.objects.put(stored, upload.cause(POST_OBJECT), overwrite=may_overwrite(upload))
    answer = _answer(call, fields, key, stored.etag)
    return msgspec.structs.replace(answer, headers={**written_headers(stored), **answer.headers})


def _check_understood(fields: dict[str, str]) -> None:
    """Raises OssError NotImplemented for a field that would be ignored."""
    for name in fields:
        unknown = name.startswith("x-oss-") and name not in _UNDERSTOOD and not name.startswith("x-oss-meta-")
        if unknown or name in ("callback", "callback-var"):
            raise OssError("NotImplemented", details={"Field": name})


async def _prove(call: Call, fields: dict[str, str]) -> tuple[Caller, Policy | None]:
    """The signer of the form's policy, and the policy; the anonymous caller and None for a form without a policy."""
    proof = signed(fields)
    if proof is None:
        return ANONYMOUS_CALLER, None
    caller = call.dependencies.authenticator.identify(proof.access_key_id, proof.token)
    check_signature(fields, proof, caller.secret)
    policy = read_policy(fields, call.dependencies.clock())
    check_fields(policy, fields)
    return caller, policy


async def _receive(call: Call, form: Form, policy: Policy | None) -> Written:
    condition, least, most = length_range(policy) if policy is not None else (None, 0, None)
    objects, expected = call.dependencies.objects, file_digest(form.fields.get("content-md5", ""))
    async with objects.upload() as upload:
        async for chunk in form.file():
            await upload.write(chunk)
            if most is not None and condition is not None and upload.size > most:
                raise failed(condition)
            if upload.size > OBJECT_BYTES_MAX:
                raise OssError("EntityTooLarge")
        if condition is not None and upload.size < least:
            raise failed(condition)
        written = await upload.finish()
    if expected is not None and not hmac.compare_digest(expected, bytes.fromhex(written.md5)):
        await objects.discard(written)
        raise OssError("InvalidDigest", details={"Content-MD5": form.fields["content-md5"][:64]})
    return written


def _answer(call: Call, fields: dict[str, str], key: str, etag: str) -> Answer:
    redirect = fields.get("success_action_redirect", "")
    if redirect:
        told = f"bucket={call.bucket.bucket_name}&key={quote(key, safe='')}&etag=%22{etag}%22"
        return Answer(status=303, headers={"Location": f"{redirect}{'&' if '?' in redirect else '?'}{told}"})
    wanted = fields.get("success_action_status", "")
    status = int(wanted) if wanted in map(str, _STATUSES) else 204
    location = f"{call.request.endpoint}/{call.bucket.bucket_name}/{quote(key)}"
    if status != 201:
        return Answer(status=status, headers={"Location": location})
    answer = xml_answer(
        "PostResponse",
        [("Bucket", call.bucket.bucket_name), ("Location", location), ("Key", key), ("ETag", f'"{etag}"')],
    )
    return msgspec.structs.replace(answer, status=201, headers={**answer.headers, "Location": location})


def _check_target(url: str) -> None:
    """Raises OssError InvalidArgument for a target unfit for a browser redirect."""
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        scheme = ""
    if scheme not in ("http", "https"):
        raise invalid_argument("success_action_redirect", url[:256])
