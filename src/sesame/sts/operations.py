"""The operations of STS (reference/companions.md §2.2): GetCallerIdentity and AssumeRole.

Called by `sts.app` with an authenticated caller. Each returns the API's fields, in the API's order.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sesame.identity.assuming import AssumedRole, Assuming, NotTrusted, RootMayNotAssume, TooLong, Wish
from sesame.identity.authentication import Caller
from sesame.identity.authorization import Denied
from sesame.identity.facts import RequestFacts
from sesame.identity.policy.evaluator import MalformedPolicy, parse
from sesame.identity.roles import parse_role_arn
from sesame.model import utc
from sesame.model.errors import NotFound
from sesame.model.natural import natural
from sesame.model.role import SESSION_S_MAX, PrincipalKind
from sesame.sts.errors import StsError, shown, with_details
from sesame.sts.request import Request

VALID_S_MIN, VALID_S_DEFAULT = 900, 3600
POLICY_CHARS_MAX = 2048
_SESSION = re.compile(r"[A-Za-z0-9.@_-]{2,64}\Z")
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}\Z", re.ASCII)
_SOURCE_IDENTITY = re.compile(r"[\w+=,.@-]{2,64}\Z", re.ASCII)
_ASSUME_ROLE = frozenset({"RoleArn", "RoleSessionName", "Policy", "DurationSeconds", "ExternalId", "SourceIdentity"})
# Parameters of the signature, and others that clients send with every request.
_COMMON = frozenset(
    {
        "Action", "Version", "Format", "AccessKeyId", "SignatureMethod", "SignatureVersion", "SignatureNonce",
        "SignatureType", "Timestamp", "SecurityToken", "RegionId", "Signature",
    }
)  # fmt: skip


class Call(msgspec.Struct, frozen=True):
    request: Request
    caller: Caller
    facts: RequestFacts
    assuming: Assuming


def run(call: Call) -> Mapping[str, Any]:
    """Runs the action and returns its answer, without the request id. Raises StsError."""
    operation = _OPERATIONS.get(call.request.action)
    if operation is None:
        raise StsError("InvalidAction.NotFound")
    return operation(call)


def _assume_role(call: Call) -> Mapping[str, Any]:
    _refuse_unknown(call.request, _ASSUME_ROLE)
    wish = _wish(call.request)
    try:
        assumed = call.assuming.assume(call.caller, wish, call.facts)
    except RootMayNotAssume as error:
        raise StsError("NoPermission", str(error)) from error
    except (Denied, NotTrusted) as error:
        raise with_details("NoPermission", str(error)) from error
    except NotFound as error:
        raise StsError("EntityNotExist.Role") from error
    except TooLong as error:
        raise _wrong_duration(error.most_s) from error
    return _described(assumed, wish.keys.get("sts:SourceIdentity", ""))


def _described(assumed: AssumedRole, source_identity: str) -> Mapping[str, Any]:
    credentials = assumed.credentials
    answer: dict[str, Any] = {
        "AssumedRoleUser": {
            "Arn": f"acs:ram::{assumed.account_id}:role/{assumed.role_name.lower()}/{assumed.session}",
            "AssumedRoleId": f"{assumed.role_id}:{assumed.session}",
        },
        "Credentials": {
            "AccessKeyId": credentials.access_key_id,
            "AccessKeySecret": credentials.access_key_secret,
            "SecurityToken": credentials.security_token,
            "Expiration": utc.text_of(assumed.expires_at),
        },
    }
    if source_identity:
        answer["SourceIdentity"] = source_identity
    return answer


def _wish(request: Request) -> Wish:
    role, session = parse_role_arn(request.required("RoleArn")), request.required("RoleSessionName")
    if role is None:
        raise StsError("InvalidParameter.RoleArn")
    if not _SESSION.match(session):
        raise StsError("InvalidParameter.RoleSessionName")
    keys = {
        key: value
        for key, name, form in (
            ("sts:ExternalId", "ExternalId", _EXTERNAL_ID),
            ("sts:SourceIdentity", "SourceIdentity", _SOURCE_IDENTITY),
        )
        if (value := _of_form(request, name, form))
    }
    return Wish(role=role, session=session, valid_s=_valid_s(request), policy=_policy(request), keys=keys)


def _of_form(request: Request, name: str, form: re.Pattern[str]) -> str:
    value = request.parameters.get(name, "")
    if value and not form.match(value):
        raise StsError("InvalidParameter", f"The parameter {name} is wrongly formed.")
    return value


def _valid_s(request: Request) -> int:
    text = request.parameters.get("DurationSeconds", "") or str(VALID_S_DEFAULT)
    valid_s = natural(text, SESSION_S_MAX)
    if valid_s is None or valid_s < VALID_S_MIN:
        raise _wrong_duration(SESSION_S_MAX)
    return valid_s


def _wrong_duration(most_s: int) -> StsError:
    text = f"The Min/Max value of DurationSeconds is {VALID_S_MIN // 60}min/{most_s / 3600:g}hr."
    return StsError("InvalidParameter.DurationSeconds", text)


def _policy(request: Request) -> str | None:
    text = request.parameters.get("Policy", "")
    if not text:
        return None
    if len(text) > POLICY_CHARS_MAX:
        raise StsError("InvalidParameter.PolicySize")
    try:
        parse(text)
    except MalformedPolicy as error:
        raise with_details("InvalidParameter.PolicyGrammar", str(error)) from error
    return text


def _get_caller_identity(call: Call) -> Mapping[str, Any]:
    _refuse_unknown(call.request, frozenset())
    principal = call.caller.principal
    if principal.kind is PrincipalKind.ROLE:
        if not call.assuming.has_role(call.caller):
            raise StsError("EntityNotExist.Role")
        return {
            "IdentityType": "AssumedRoleUser",
            "AccountId": principal.account_id,
            "PrincipalId": principal.principal_id,
            "RoleId": principal.role_id,
            "Arn": f"acs:ram::{principal.account_id}:assumed-role/{principal.role.lower()}/{principal.session}",
        }
    if principal.kind is not PrincipalKind.ACCOUNT:
        # Keys lent for uploading code have no other rights.
        raise StsError("NoPermission")
    return {
        "IdentityType": "Account",
        "AccountId": principal.account_id,
        "PrincipalId": principal.account_id,
        "UserId": principal.account_id,
        "Arn": f"acs:ram::{principal.account_id}:root",
    }


def _refuse_unknown(request: Request, known: frozenset[str]) -> None:
    """Refuses parameters that the action would ignore."""
    for name in request.parameters:
        if name not in known and name not in _COMMON:
            raise StsError("InvalidParameter", f"The parameter {shown(name)} is not known to {request.action}.")


_OPERATIONS: Mapping[str, Callable[[Call], Mapping[str, Any]]] = {
    "AssumeRole": _assume_role,
    "GetCallerIdentity": _get_caller_identity,
}
