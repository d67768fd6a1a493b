"""Bucket settings that control access: public access block, requester pays, referers, direct reads of archives.

Routed to by `oss.routes`. `oss.access_rules` enforces them; `oss.restore` enforces the one for archives.
"""

import msgspec

from sesame.model.bucket import Bucket, RefererRules
from sesame.oss import xml
from sesame.oss.answers import Answer, xml_answer
from sesame.oss.calls import Call
from sesame.oss.errors import OssError, invalid_argument

REFERERS_BYTES_MAX = 20 * 1024
PAYERS = ("BucketOwner", "Requester")


async def get_public_access_block(call: Call) -> Answer:
    return _public_access_block(call.bucket.blocks_public_access)


async def put_public_access_block(call: Call) -> Answer:
    await change_bucket(call, blocks_public_access=await _blocks(call))
    return Answer()


async def delete_public_access_block(call: Call) -> Answer:
    await change_bucket(call, blocks_public_access=False)
    return Answer(status=204)


async def get_account_public_access_block(call: Call) -> Answer:
    account = call.dependencies.buckets.account(call.caller.principal.account_id)
    return _public_access_block(account.blocks_public_access)


async def put_account_public_access_block(call: Call) -> Answer:
    await _block_account(call, blocks=await _blocks(call))
    return Answer()


async def clear_account_public_access_block(call: Call) -> Answer:
    await _block_account(call, blocks=False)
    return Answer(status=204)


async def get_request_payment(call: Call) -> Answer:
    return xml_answer("RequestPaymentConfiguration", [("Payer", PAYERS[call.bucket.requester_pays])])


async def put_request_payment(call: Call) -> Answer:
    root = await xml.read(call.body, "RequestPaymentConfiguration")
    payer = xml.text(root, "Payer")
    if payer not in PAYERS:
        raise OssError("MalformedXML", details={"Payer": payer})
    await change_bucket(call, requester_pays=payer == PAYERS[1])
    return Answer()


async def get_archive_direct_read(call: Call) -> Answer:
    return xml_answer("ArchiveDirectReadConfiguration", [("Enabled", call.bucket.archive_direct_read)])


async def put_archive_direct_read(call: Call) -> Answer:
    root = await xml.read(call.body, "ArchiveDirectReadConfiguration")
    await change_bucket(call, archive_direct_read=xml.flag(root, "Enabled"))
    return Answer()


async def get_referer(call: Call) -> Answer:
    rules = call.bucket.referer or RefererRules()
    refused: xml.Element = ("RefererBlacklist", [("Referer", referer) for referer in rules.refused])
    return xml_answer(
        "RefererConfiguration",
        [
            ("AllowEmptyReferer", rules.allows_empty),
            ("AllowTruncateQueryString", rules.truncates_query),
            ("TruncatePath", rules.truncates_path),
            ("RefererList", [("Referer", referer) for referer in rules.allowed]),
            refused if rules.refused else None,
        ],
    )


async def put_referer(call: Call) -> Answer:
    root = await xml.read(call.body, "RefererConfiguration")
    allowed, refused = (
        tuple(element.text or "" for element in root.findall(f"{name}/Referer"))
        for name in ("RefererList", "RefererBlacklist")
    )
    size = sum(len(referer.encode()) for referer in (*allowed, *refused))
    if size > REFERERS_BYTES_MAX:
        raise invalid_argument("RefererConfiguration", str(size), "The referers are longer than 20 KB in all.")
    rules = RefererRules(
        allows_empty=xml.flag(root, "AllowEmptyReferer"),
        allowed=allowed,
        refused=refused,
        truncates_query=root.find("AllowTruncateQueryString") is None or xml.flag(root, "AllowTruncateQueryString"),
        truncates_path=xml.flag(root, "TruncatePath"),
    )
    if rules.truncates_path and root.find("AllowTruncateQueryString") is not None and not rules.truncates_query:
        raise invalid_argument("TruncatePath", "true", "A path is truncated only together with its query string.")
    await change_bucket(call, referer=rules)
    return Answer()


async def change_bucket(call: Call, **changes: object) -> None:
    """Replaces fields of the bucket. Raises OssError NoSuchBucket."""

    def change(bucket: Bucket) -> Bucket:
        changed: Bucket = msgspec.structs.replace(bucket, **changes)
        return changed

    await call.dependencies.buckets.change(call.bucket.bucket_name, change)


async def _blocks(call: Call) -> bool:
    return xml.flag(await xml.read(call.body, "PublicAccessBlockConfiguration"), "BlockPublicAccess")


async def _block_account(call: Call, *, blocks: bool) -> None:
    buckets, account_id = call.dependencies.buckets, call.caller.principal.account_id
    await buckets.change_account(
        account_id, lambda account: msgspec.structs.replace(account, blocks_public_access=blocks)
    )


def _public_access_block(blocks: bool) -> Answer:
    return xml_answer("PublicAccessBlockConfiguration", [("BlockPublicAccess", blocks)])
