"""Issues temporary credentials: to functions those of their service's role, to a code upload its own.

Called by the engine for every invocation, usually answered from a cache, and by `control.code_uploads`. The limits of
AssumeRole do not apply: a service may hold a role for longer than a user (reference/companions.md §2.4).
"""

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from sesame.identity.roles import FUNCTION_COMPUTE, Roles, parse_role_arn
from sesame.identity.tokens import VALIDITY_S_DEFAULT, Grant, Tokens
from sesame.model.errors import Forbidden
from sesame.model.invocation import Credentials
from sesame.model.owner import spoken_owner
from sesame.model.recursion import Chain
from sesame.model.role import Principal

# Added to a call's maximum duration: clocks differ, and a function may pass credentials on before it returns.
RENEWAL_MARGIN_S = 15 * 60
CREDENTIALS_REMEMBERED = 10_000


class _Held(msgspec.Struct, frozen=True):
    credentials: Credentials
    role_id: str
    expires_at: float


class Issuer:
    """`clock` returns Unix seconds; `validity_s` is the lifetime of credentials (six hours, as in the cloud)."""

    def __init__(
        self, tokens: Tokens, roles: Roles, clock: Callable[[], float], validity_s: float = VALIDITY_S_DEFAULT
    ) -> None:
        self._tokens = tokens
        self._roles = roles
        self._clock = clock
        self._validity_s = validity_s
        self._held: OrderedDict[tuple[str, str, Chain], _Held] = OrderedDict()

    def lend(self, principal: Principal, valid_s: float) -> Credentials:
        """Credentials of a principal that is not a role's session, such as a code upload."""
        grant = Grant(
            account_id=principal.account_id,
            role=principal.role,
            role_id=principal.role_id,
            session=principal.session,
            policy=principal.session_policy,
            kind=principal.kind,
        )
        return self._tokens.issue(grant, valid_s)

    def credentials(self, role_arn: str, owner: str, min_validity_s: float, chain: Chain = ()) -> Credentials:
        """Credentials for the functions of a service, or for a function without one; the session has the owner's name.

        Valid for at least `min_validity_s` more seconds; three empty strings for a service without a role.

        Requests made with them are attributed to this chain of functions.

        Raises Forbidden if the role does not exist or does not trust Function Compute.
        """
        if not role_arn:
            return Credentials()
        role = self._roles.assumable(role_arn, FUNCTION_COMPUTE)
        if role is None:
            raise Forbidden(
                f"the role '{role_arn}' cannot be assumed: it does not exist or does not trust {FUNCTION_COMPUTE}"
            )
        now = self._clock()
        needed_until = now + min_validity_s + RENEWAL_MARGIN_S
        session = spoken_owner(owner)
        key = (role_arn, session, chain)
        cached = self._held.get(key)
        if cached is not None and cached.role_id == role.role_id and cached.expires_at >= needed_until:
            self._held.move_to_end(key)
            return cached.credentials
        # POLICY: a call that may run longer than the usual lifetime gets longer-lived credentials.
        # The second margin allows them to be reused for a while before they are renewed.
        valid_s = max(self._validity_s, min_validity_s + 2 * RENEWAL_MARGIN_S)
        account_id, _name = parse_role_arn(role_arn) or ("", "")
        grant = Grant(account_id=account_id, role=role.role_name, role_id=role.role_id, session=session, chain=chain)
        credentials = self._tokens.issue(grant, valid_s)
        self._held[key] = _Held(credentials, role.role_id, now + valid_s)
        self._held.move_to_end(key)
        if len(self._held) > CREDENTIALS_REMEMBERED:
            self._held.popitem(last=False)
        return credentials
