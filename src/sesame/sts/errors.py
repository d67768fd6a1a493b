"""Errors of the STS endpoint, with the codes, statuses and texts of its API (reference/companions.md §2.3).

Raised by every module of this package; `sts.app` encodes them for the caller.
"""

import re

from sesame.model.errors import CallerError

# code: (status, message); a caller may give a more specific message.
_CATALOGUE: dict[str, tuple[int, str]] = {
    "EntityNotExist.Role": (404, "The specified Role not exists."),
    "InternalError": (500, "The request processing has failed due to some unknown error."),
    "InvalidAccessKeyId.NotFound": (404, "Specified access key is not found."),
    "InvalidAction.NotFound": (404, "Specified api is not found, please check your url and method."),
    "InvalidParameter": (400, "The specified parameter is not valid."),
    "InvalidParameter.DurationSeconds": (400, "The Min/Max value of DurationSeconds is 15min/1hr."),
    "InvalidParameter.PolicyGrammar": (400, "The parameter Policy has not passed grammar check."),
    "InvalidParameter.PolicySize": (400, "The parameter Policy is longer than 2048 characters."),
    "InvalidParameter.RoleArn": (400, "The parameter RoleArn is wrongly formed."),
    "InvalidParameter.RoleSessionName": (400, "The parameter RoleSessionName is wrongly formed."),
    "InvalidSecurityToken.Expired": (400, "Specified SecurityToken is expired."),
    "InvalidSecurityToken.Malformed": (400, "Specified SecurityToken is malformed."),
    "InvalidSecurityToken.MismatchWithAccessKey": (400, "Specified SecurityToken mismatch with the AccessKey."),
    "InvalidTimeStamp.Expired": (400, "Specified time stamp or date value is expired."),
    "InvalidTimeStamp.Format": (400, "Specified time stamp or date value is not well formatted."),
    "MissingParameter": (400, "The request lacks a parameter."),
    "MissingSecurityToken": (400, "SecurityToken is mandatory for this action."),
    "NoPermission": (403, "You are not authorized to do this action. You should be authorized by RAM."),
    "NoSuchVersion": (400, "Specified version does not exist: expected 2015-04-01."),
    "RequestTimeout": (408, "The request did not arrive in time."),
    "ServiceUnavailable": (503, "The request has failed due to a temporary failure of the server."),
    "SignatureDoesNotMatch": (400, "Specified signature is not matched with our calculation."),
    "SignatureNonceUsed": (400, "Specified signature nonce was used already."),
    "UnsupportedHTTPMethod": (405, "This http method is not supported: expected GET or POST."),
}


class StsError(CallerError):
    """An error whose `code` is a key of the catalogue, which has its status."""

    def __init__(self, code: str, message: str = "") -> None:
        status, usual = _CATALOGUE[code]
        super().__init__(message or usual)
        self.code = code
        self.status = status


def with_details(code: str, details: str) -> StsError:
    """The catalogue's text with `details` appended."""
    return StsError(code, f"{_CATALOGUE[code][1]} {details}")


def shown(text: str) -> str:
    """Shortens text from a request to plain ASCII, for use in an error message."""
    return re.sub(r"[^ -~]", "?", text[:64])


def missing(name: str) -> StsError:
    return StsError("MissingParameter", f"The parameter {name} is mandatory for this action.")
