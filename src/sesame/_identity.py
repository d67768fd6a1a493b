"""Creates the account, and the parts that identify callers: access keys, roles, tokens, temporary keys for functions.

Called by `app`, once the catalog is open.
"""

import msgspec
import structlog

from sesame.identity.assuming import Assuming
from sesame.identity.authentication import Authentication
from sesame.identity.authorization import Authorization
from sesame.identity.issuer import Issuer
from sesame.identity.keys import ACCOUNT_NAME, AccessKeys
from sesame.identity.roles import Roles
from sesame.identity.tokens import MASTER_NAME, Tokens, master_key
from sesame.model import records
from sesame.model.account import AccessKey
from sesame.model.clocks import Clocks
from sesame.model.errors import PlatformError
from sesame.settings import Settings
from sesame.store.catalog import Catalog

log = structlog.get_logger(__name__)


class Identity(msgspec.Struct, frozen=True):
    """`key` is the account's own access key."""

    authentication: Authentication
    authorization: Authorization
    tokens: Tokens
    roles: Roles
    issuer: Issuer
    assuming: Assuming
    key: AccessKey

    @property
    def account_id(self) -> str:
        return self.key.account_id


async def open_identity(settings: Settings, catalog: Catalog, clocks: Clocks) -> Identity:
    """Creates the account at the first start; later raises `ConfigurationError` if the settings disagree with it."""
    keys = AccessKeys(catalog)
    account = await keys.ensure_account(settings.account_id, settings.access_key_id, settings.access_key_secret)
    key = keys.get(account.access_key_id)
    if key is None:
        raise PlatformError(f"the catalog has lost the key {account.access_key_id} that it was just given")
    tokens = Tokens(await master_key(catalog), clocks.wall)
    roles = Roles(catalog)
    for warning in await roles.seed(account.account_id, settings.roles):
        log.warning(warning)
    return _over(settings, catalog, clocks, tokens, key)


def identity_of(settings: Settings, catalog: Catalog, clocks: Clocks) -> Identity:
    """As `open_identity`, for a catalog that already has an account; creates nothing."""
    account, master = catalog.get(records.ACCOUNT, "", ACCOUNT_NAME), catalog.get(records.MASTER_KEY, "", MASTER_NAME)
    key = None if account is None else AccessKeys(catalog).get(account.document.access_key_id)
    if key is None or master is None:
        raise PlatformError("the catalog has no account, or no master key")
    return _over(settings, catalog, clocks, Tokens(bytes.fromhex(master.document.key), clocks.wall), key)


def _over(settings: Settings, catalog: Catalog, clocks: Clocks, tokens: Tokens, key: AccessKey) -> Identity:
    keys, roles = AccessKeys(catalog), Roles(catalog)
    authorization = Authorization(catalog, roles)
    return Identity(
        authentication=Authentication(keys, tokens),
        authorization=authorization,
        tokens=tokens,
        roles=roles,
        issuer=Issuer(tokens, roles, clocks.wall, settings.credentials_validity_s),
        assuming=Assuming(authorization, roles, tokens, clocks.wall),
        key=key,
    )
