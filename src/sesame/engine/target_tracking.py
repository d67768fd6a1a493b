"""Target tracking: measures the utilization of provisioned instances and sets how many are wanted.

Built by `_engine`. Measures only while a policy applies, and costs nothing otherwise.
"""

import asyncio
import statistics
from collections.abc import Callable, Coroutine

from sesame.engine.instance import Instance, State
from sesame.engine.provision_plan import Plan
from sesame.engine.provision_targets import ProvisionTargets
from sesame.engine.scaling import tracked
from sesame.model.clocks import Clocks, Timer
from sesame.model.configs import CPU_UTILIZATION, TargetTrackingPolicy
from sesame.model.invocation import Target

# POLICY: how often instances are sampled; decisions are made once a minute, as in the cloud.
LOOK_EVERY_S = 5.0
LOOKS_PER_DECISION = 12
# POLICY: an instance without a processor quota is fully used when it keeps one processor busy.
PROCESSORS = 1.0


class TargetTracking:
    """One per engine, on its event loop. `instances_of` returns the ready instances of a configuration."""

    def __init__(
        self, targets: ProvisionTargets, instances_of: Callable[[Target], list[Instance]], clocks: Clocks
    ) -> None:
        self._targets = targets
        self._instances_of = instances_of
        self._clocks = clocks
        self._timer: Timer | None = None
        self._closed = False
        self._looks = 0
        # The share of busy instances at each look since the last decision.
        self._busy: dict[Target, list[float]] = {}
        # Processor seconds of each instance, and the monotonic time when they were read.
        self._cpu: dict[str, tuple[float, float]] = {}
        self._deciding: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._targets.on_change(self._look_later)
        self._look_later()

    async def close(self) -> None:
        """Measures nothing from now on, whatever changes."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._deciding:
            task.cancel()
        if self._deciding:
            await asyncio.wait(self._deciding)

    def _tracked(self) -> list[Plan]:
        return [plan for plan in self._targets.plans() if plan.policies()]

    def _look_later(self) -> None:
        if self._timer is None and not self._closed and self._tracked():
            self._timer = self._clocks.call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        self._timer = None
        plans = self._tracked()
        for plan in plans:
            ready = self._instances_of(plan.target)
            if ready:
                busy = sum(each.state is not State.IDLE for each in ready)
                self._busy.setdefault(plan.target, []).append(busy / len(ready))
        self._looks += 1
        if self._looks >= LOOKS_PER_DECISION or not plans:
            self._looks = 0
            seen, self._busy = self._busy, {}
            for plan in plans:
                self._begin(self._decide(plan, seen.get(plan.target, [])))
        self._look_later()

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._deciding.add(task)
        task.add_done_callback(self._deciding.discard)

    async def _decide(self, plan: Plan, busy: list[float]) -> None:
        """Decides nothing from a metric that was not measured for the whole period."""
        target, count = plan.target, plan.provision().count
        policies = plan.policies()
        ready = self._instances_of(target)
        cpu = await self._cpu_share(ready) if any(each.metric_type == CPU_UTILIZATION for each in policies) else None
        concurrency = statistics.fmean(busy) if len(busy) == LOOKS_PER_DECISION else None

        def wanted(policy: TargetTrackingPolicy) -> int:
            used = cpu if policy.metric_type == CPU_UTILIZATION else concurrency
            return count if used is None else tracked(count, used, policy)

        if policies and plan.provision().count == count:
            self._targets.track(target, max(wanted(each) for each in policies))

    async def _cpu_share(self, instances: list[Instance]) -> float | None:
        """The mean share of their processors used since the last decision; None if no instance existed then."""
        now, shares = self._clocks.monotonic(), []
        for instance in instances:
            usage = await instance.usage()
            if usage is None:
                continue
            before = self._cpu.get(instance.instance_id)
            self._cpu[instance.instance_id] = (usage.cpu_s, now)
            if before is not None and now > before[1]:
                processors = usage.cpu_quota or PROCESSORS
                shares.append(min((usage.cpu_s - before[0]) / (now - before[1]) / processors, 1.0))
        alive = {each.instance_id for plan in self._targets.plans() for each in self._instances_of(plan.target)}
        self._cpu = {key: value for key, value in self._cpu.items() if key in alive}
        return statistics.fmean(shares) if shares else None
