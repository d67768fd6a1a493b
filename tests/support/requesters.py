"""Callers as `control` sees them: the account itself, and one that may pass some roles only."""

from sesame.control.requester import Requester
from sesame.model.errors import Forbidden
from sesame.model.role import Principal, PrincipalKind


class FakeRequester:
    """Passes the roles of `may_pass`, or every role where it is None; remembers what it was asked to pass."""

    def __init__(self, principal: Principal, may_pass: frozenset[str] | None = None) -> None:
        self._principal = principal
        self._may_pass = may_pass
        self.asked: list[str] = []

    @property
    def principal(self) -> Principal:
        return self._principal

    def require(self, action: str, resource: str) -> None:
        """Every caller may; rights are tested with the real evaluator."""

    def pass_role(self, role: str) -> None:
        self.asked.append(role)
        if self._may_pass is not None and role not in self._may_pass:
            raise Forbidden(f"the caller is not authorized to perform 'ram:PassRole' on resource '{role}'")


THE_ACCOUNT: Requester = FakeRequester(Principal(PrincipalKind.ACCOUNT, "123"))
