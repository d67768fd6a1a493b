"""How many provisioned instances each configuration wants now, according to the catalog and the time.

Read by `engine.provisioned` and `engine.target_tracking`; built by `_engine`. All configurations share one timer.
"""

from collections.abc import Callable, Iterator

import msgspec
import structlog

from sesame.engine.provision_plan import Plan
from sesame.engine.provisioned import Provision
from sesame.engine.resolver import Catalog, Change
from sesame.model import records
from sesame.model.alarm import Alarm
from sesame.model.clocks import Clocks
from sesame.model.configs import ProvisionConfig, ScalingConfig
from sesame.model.invocation import Target
from sesame.model.records import Record
from sesame.model.schedules import NotASchedule

_KINDS = (records.PROVISION_CONFIG, records.SCALING_CONFIG)

log = structlog.get_logger(__name__)


class ProvisionTargets:
    """Implements `provisioned.Provisions` from a catalog's configurations. Belongs to the catalog's event loop."""

    def __init__(self, catalog: Catalog, clocks: Clocks) -> None:
        self._catalog = catalog
        self._clocks = clocks
        # By the kind, parent and name of the record.
        self._plans: dict[tuple[str, str, str], Plan] = {}
        self._listeners: list[Callable[[], None]] = []
        self._alarm = Alarm(clocks, self._on_time, lambda _back_s: self._read_again())

    def start(self) -> None:
        self._catalog.on_change(self._on_change)
        self._read_again()

    def close(self) -> None:
        self._alarm.close()

    def wanted(self) -> Iterator[Provision]:
        """One provision per target: if a function has both kinds of configuration, the larger count applies."""
        by_target: dict[Target, Provision] = {}
        for plan in self._plans.values():
            found = plan.provision()
            other = by_target.get(plan.target)
            by_target[plan.target] = found if other is None else _together(found, other)
        return iter(by_target.values())

    def find(self, target: Target) -> Provision | None:
        return next((each for each in self.wanted() if each.target == target), None)

    def plans(self) -> list[Plan]:
        return list(self._plans.values())

    def track(self, target: Target, count: int) -> None:
        """Sets the measured count, which applies until no policy holds any more or an action comes due."""
        for plan in self._plans.values():
            if plan.target == target and plan.policies():
                plan.track(count)
                self._tell()

    def on_change(self, callback: Callable[[], None]) -> None:
        self._listeners.append(callback)

    def _on_change(self, change: Change) -> None:
        if change.kind in _KINDS:
            self._plans.pop((change.kind, change.parent, change.name), None)
            if change.record is not None:
                self._add(change.record)
            self._tell()

    def _on_time(self) -> None:
        for plan in self._plans.values():
            plan.advance(self._clocks.wall())
        self._tell()

    def _read_again(self) -> None:
        """Rebuilds all plans: at the start, and after the clock was set back, so that actions come due again."""
        self._plans.clear()
        for kind in _KINDS:
            for record in self._catalog.of_kind(kind):
                self._add(record)
        self._tell()

    def _add(self, record: Record) -> None:
        now = self._clocks.wall()
        try:
            plan = Plan(_config(record), min(record.modified_at, now))
        except (NotASchedule, msgspec.ValidationError) as error:
            # Written before schedules were validated; today such a configuration is refused.
            log.error("a configuration of provisioned instances cannot be read", name=record.name, reason=str(error))
            return
        plan.advance(now)
        self._plans[record.kind, record.parent, record.name] = plan

    def _tell(self) -> None:
        self._alarm.set(min((at for plan in self._plans.values() if (at := plan.next_at()) is not None), default=None))
        for listener in self._listeners:
            listener()


def _config(record: Record) -> ProvisionConfig:
    document: ProvisionConfig | ScalingConfig = record.document
    return document.provision() if isinstance(document, ScalingConfig) else document


def _together(one: Provision, other: Provision) -> Provision:
    return Provision(one.target, max(one.count, other.count), one.runs_idle or other.runs_idle)
