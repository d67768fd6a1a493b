"""Refusals shared by all API versions of the Function Compute endpoint: what is wrong with the request itself.

Raised throughout `fc`. Refusals raised by lower packages have no wording: each version provides it (`fc.wording`).
"""

import msgspec

from sesame.model.errors import CallerError

# How many characters of a path an error repeats.
PATH_CHARS_SHOWN = 256


class ApiError(CallerError):
    """A refusal in the API's terms: HTTP status, error code and text (reference/api.md §1.3)."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


class InvalidArgument(ApiError):
    """A header, path, query or body is malformed. Fields are spelled as on the wire."""

    def __init__(self, text: str) -> None:
        super().__init__(400, "InvalidArgument", text)

    @classmethod
    def of(cls, name: str, allowed: str, actual: object) -> "InvalidArgument":
        return cls(f"{name} is set to an invalid value (allowed: {allowed}, actual: '{actual}')")

    @classmethod
    def missing(cls, name: str) -> "InvalidArgument":
        return cls(f"{name} is required but not provided")


class MissingRequiredHeader(ApiError):
    def __init__(self, header: str) -> None:
        super().__init__(400, "MissingRequiredHeader", f"required HTTP header {header} was not specified")


class PathNotSupported(ApiError):
    """No operation has this method and path."""

    def __init__(self, method: str, path: str) -> None:
        shown = path if len(path) <= PATH_CHARS_SHOWN else path[:PATH_CHARS_SHOWN] + "…"
        super().__init__(400, "PathNotSupported", f"'{method}' against '{shown}' is not supported")


class EntityTooLarge(ApiError):
    def __init__(self, limit_bytes: int) -> None:
        text = f"payload size exceeds maximum allowed size ({limit_bytes} bytes)"
        super().__init__(400, "EntityTooLarge", text)


class AccessDenied(ApiError):
    """The caller failed to authenticate, or may not use this kind of access."""

    def __init__(self, text: str, *, code: str = "AccessDenied") -> None:
        super().__init__(403, code, text)


class SignatureNotMatch(AccessDenied):
    """The signature was not made with the caller's secret over this request."""

    def __init__(self) -> None:
        text = (
            "The request signature we calculated does not match the signature you provided. "
            "Check your access key and signing method"
        )
        super().__init__(text, code="SignatureNotMatch")


class NonceUsed(ApiError):
    """The nonce of the signature has been used before, for example because the same request was sent again."""

    def __init__(self) -> None:
        text = (
            "Specified signature nonce was used already. Each request, also one that is tried again, is signed with an "
            "x-acs-signature-nonce of its own"
        )
        super().__init__(400, "SignatureNonceUsed", text)


class InvalidAccessKeyID(AccessDenied):
    """The access key does not exist."""

    def __init__(self, access_key_id: str) -> None:
        super().__init__(f"invalid access key ID '{access_key_id}'", code="InvalidAccessKeyID")


class Failure(msgspec.Struct, frozen=True, rename="pascal"):
    """The body of every error answer (reference/api.md §1.3)."""

    error_code: str
    error_message: str
