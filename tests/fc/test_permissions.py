"""Which action and resource a request means, and who may."""

from collections.abc import Mapping

import msgspec
import pytest

from sesame.fc.auth.permissions import Permissions, action_and_resource
from sesame.fc.auth.verifier import Caller
from sesame.model.errors import AccessDenied
from sesame.model.role import Principal, PrincipalKind


class Verdict(msgspec.Struct):
    allowed: bool


class Roles:
    """Allows one action on one resource."""

    def __init__(self, action: str, resource: str) -> None:
        self._allowed = (action, resource)

    def authorize(self, principal: Principal, action: str, resource: str, context: Mapping[str, str]) -> Verdict:
        return Verdict((action, resource) == self._allowed)


class Session:
    secret = "s"
    account_id = "1"
    principal = Principal(PrincipalKind.ROLE, "1", "role")


ROOT = Caller("1", "key")
TEMPORARY = Caller("1", "STS.key", Session())


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "services", ("fc:CreateService", "services/*")),
        ("GET", "services", ("fc:ListServices", "services/*")),
        ("PUT", "services/s", ("fc:UpdateService", "services/s")),
        ("HEAD", "services/s.1", ("fc:GetService", "services/s.1")),
        ("GET", "services/s.LATEST", ("fc:GetService", "services/s")),
        ("POST", "services/s/functions", ("fc:CreateFunction", "services/s/functions/*")),
        ("DELETE", "services/s/functions/f", ("fc:DeleteFunction", "services/s/functions/f")),
        ("GET", "services/s/functions/f/code", ("fc:GetFunctionCode", "services/s/functions/f")),
        ("GET", "services/s/functions/code", ("fc:GetFunction", "services/s/functions/code")),
        ("POST", "services/s.LATEST/functions/f/invocations", ("fc:InvokeFunction", "services/s/functions/f")),
        ("POST", "services/%73/functions/%66/invocations", ("fc:InvokeFunction", "services/s/functions/f")),
        ("POST", "services/s/functions/f", None),
        ("GET", "nothing", None),
        ("GET", "", None),
    ],
)
def test_actions_and_resources(method: str, path: str, expected: tuple[str, str] | None) -> None:
    assert action_and_resource(method, b"/2016-08-15/" + path.encode()) == expected


def test_the_account_s_own_key_may_do_everything() -> None:
    assert Permissions(None, "r").require(ROOT, "POST", b"/2016-08-15/services") is None


def test_temporary_credentials_may_do_what_their_role_allows() -> None:
    permissions = Permissions(Roles("fc:InvokeFunction", "acs:fc:r:1:services/s/functions/f"), "r")
    permissions.require(TEMPORARY, "POST", b"/2016-08-15/services/s/functions/f/invocations")
    with pytest.raises(AccessDenied, match="not authorized to perform 'fc:InvokeFunction'"):
        permissions.require(TEMPORARY, "POST", b"/2016-08-15/services/s/functions/g/invocations")
    with pytest.raises(AccessDenied, match="fc:DeleteService"):
        permissions.require(TEMPORARY, "DELETE", b"/2016-08-15/services/s")


def test_without_roles_temporary_credentials_may_do_nothing() -> None:
    with pytest.raises(AccessDenied):
        Permissions(None, "r").require(TEMPORARY, "GET", b"/2016-08-15/services")


def test_paths_without_an_operation_are_left_to_who_answers_them() -> None:
    assert Permissions(None, "r").require(TEMPORARY, "GET", b"/2016-08-15/x") is None
