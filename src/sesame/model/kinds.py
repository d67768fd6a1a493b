"""Maps each kind of record to the struct of its document.

Used by `store.catalog` to encode and decode records.
"""

from collections.abc import Mapping

from sesame.model import records
from sesame.model.account import AccessKey, Account
from sesame.model.alias import Alias
from sesame.model.binding import EventSource, Tags, VpcBinding
from sesame.model.bucket import Bucket, OssAccount
from sesame.model.configs import AsyncConfig, OnDemandConfig, ProvisionConfig, ScalingConfig
from sesame.model.domain import CustomDomain
from sesame.model.function import Function
from sesame.model.function_state import FunctionState
from sesame.model.layer import Layer, LayerVersion
from sesame.model.recording import RecordingConfig
from sesame.model.role import CodeUpload, MasterKey, Policy, Role, Seed
from sesame.model.service import Service
from sesame.model.session import Session, SessionSnapshot
from sesame.model.trigger import Trigger
from sesame.model.version import FrozenFunction, Version, VersionCounter

KINDS: Mapping[str, type] = {
    records.SERVICE: Service,
    records.FUNCTION: Function,
    records.VERSION: Version,
    records.FROZEN_FUNCTION: FrozenFunction,
    records.VERSION_COUNTER: VersionCounter,
    records.ALIAS: Alias,
    records.TRIGGER: Trigger,
    records.CUSTOM_DOMAIN: CustomDomain,
    records.LAYER: Layer,
    records.LAYER_VERSION: LayerVersion,
    records.TAGS: Tags,
    records.ASYNC_CONFIG: AsyncConfig,
    records.PROVISION_CONFIG: ProvisionConfig,
    records.ON_DEMAND_CONFIG: OnDemandConfig,
    records.RECORDING_CONFIG: RecordingConfig,
    records.FUNCTION_STATE: FunctionState,
    records.SCALING_CONFIG: ScalingConfig,
    records.SESSION: Session,
    records.SESSION_SNAPSHOT: SessionSnapshot,
    records.VPC_BINDING: VpcBinding,
    records.EVENT_SOURCE: EventSource,
    records.ACCOUNT: Account,
    records.ACCESS_KEY: AccessKey,
    records.ROLE: Role,
    records.POLICY: Policy,
    records.SEED: Seed,
    records.MASTER_KEY: MasterKey,
    records.BUCKET: Bucket,
    records.CODE_UPLOAD: CodeUpload,
    records.OSS_ACCOUNT: OssAccount,
}
