"""Which struct a record of each kind holds: one line for each kind.

Known to `store.catalog`, which reads and writes by it.
Never names a kind that `model.records` does not.
"""

from collections.abc import Mapping

from sesame.model import records
from sesame.model.account import AccessKey, Account
from sesame.model.bucket import Bucket
from sesame.model.function import Function
from sesame.model.role import MasterKey, Policy, Role, Seed
from sesame.model.service import Service

KINDS: Mapping[str, type] = {
    records.SERVICE: Service,
    records.FUNCTION: Function,
    records.ACCOUNT: Account,
    records.ACCESS_KEY: AccessKey,
    records.ROLE: Role,
    records.POLICY: Policy,
    records.SEED: Seed,
    records.MASTER_KEY: MasterKey,
    records.BUCKET: Bucket,
}
