"""Lists, creates and removes roles on a running server, and lends their keys; not part of the Function Compute API.

Used by `sesame roles` and `sesame invoke --role`. Called by `fc.app` for paths below `/sesame/roles`, which are signed
like all requests. The permissions are those of RAM.
"""

from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sesame.fc import requests
from sesame.fc.dependencies import Lend
from sesame.fc.refusals import ApiError
from sesame.identity.role_definitions import RoleDefinition
from sesame.identity.roles import Roles, role_arn
from sesame.model.errors import AlreadyExists, NotFound

PATH = "/sesame/roles"
LENT_S = 3600.0
LOCAL_SESSION = "local"
ADD_ACTIONS = ("ram:CreateRole", "ram:AttachPolicyToRole")


class RoleAdministration:
    """The roles of one account. `lend` returns temporary keys of a role, as functions get them."""

    def __init__(self, roles: Roles, account_id: str, lend: Lend) -> None:
        self._roles = roles
        self._account_id = account_id
        self._lend = lend

    def routes(self) -> list[Route]:
        return [
            Route(PATH, self._list, methods=["GET"]),
            Route(PATH, self._add, methods=["POST"]),
            Route(PATH + "/{role}", self._get, methods=["GET"]),
            Route(PATH + "/{role}", self._remove, methods=["DELETE"]),
            Route(PATH + "/{role}/credentials", self._credentials, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        self._require(request, "*", "ram:ListRoles")
        return requests.answer({"roles": self._roles.all_of(self._account_id)})

    async def _get(self, request: Request) -> Response:
        name = unquote(request.path_params["role"])
        self._require(request, name, "ram:GetRole")
        try:
            return requests.answer(self._roles.describe(self._account_id, name))
        except NotFound as error:
            raise _not_found(name) from error

    async def _add(self, request: Request) -> Response:
        wanted = await requests.body(request, RoleDefinition)
        own_policy = ("ram:CreatePolicy",) if wanted.policy else ()
        self._require(request, wanted.role_name, *ADD_ACTIONS, *own_policy)
        try:
            return requests.answer(await self._roles.add(self._account_id, wanted))
        except AlreadyExists as error:
            text = f"role '{wanted.role_name}' exists already: remove it first, or choose another name"
            raise ApiError(409, "EntityAlreadyExists.Role", text) from error

    async def _remove(self, request: Request) -> Response:
        name = unquote(request.path_params["role"])
        self._require(request, name, "ram:DeleteRole")
        try:
            return requests.answer(await self._roles.remove(self._account_id, name))
        except NotFound as error:
            raise _not_found(name) from error

    async def _credentials(self, request: Request) -> Response:
        """The keys that a function of a service with this role would find in its context."""
        name = unquote(request.path_params["role"])
        self._require(request, name, "sts:AssumeRole")
        try:
            self._roles.describe(self._account_id, name)
        except NotFound as error:
            raise _not_found(name) from error
        lent = self._lend(role_arn(self._account_id, name), LOCAL_SESSION, LENT_S)
        return requests.answer(
            {
                "accessKeyId": lent.access_key_id,
                "accessKeySecret": lent.access_key_secret,
                "securityToken": lent.security_token,
            }
        )

    def _require(self, request: Request, role: str, *actions: str) -> None:
        for action in actions:
            requests.requester(request).require(action, role_arn(self._account_id, role))


def _not_found(name: str) -> ApiError:
    return ApiError(404, "EntityNotExist.Role", f"role '{name[:64]}' does not exist")
