"""What happens in the lifecycle, written into the ledger: samples of memory, requests that enter and leave engines."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping

from paddock_api.identity import ModelId
from paddock_api.usage import PodUsage
from paddock_runtime.lifecycle.models import Model, Registry
from paddock_runtime.lifecycle.runs import Run
from paddock_runtime.lifecycle.units import Engine, Unit
from paddock_runtime.system.clock import Clock
from paddock_runtime.usage.ledger import ELSE, Account, Holding, Ledger, Totals
from paddock_runtime.usage.report import pod_usage
from paddock_runtime.usage.shares import divided, parts


class UsageMeter:
    """A Model's memory is its tenants' that have requests in it, by their number; else the tenant's who asked last."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry, self._clock = registry, clock
        self._since = clock.wall()
        self._ledger = Ledger(start=self._now())
        self._sharing: set[Model] = set()

    def began(self, run: Run, unit: Unit) -> None:
        run.model.last_tenant = run.job.tenant
        self._ledger.begin(self._now(), unit.engine.key, _account(run))

    def left(self, run: Run, unit: Unit) -> None:
        self._ledger.end(self._now(), unit.engine.key, _account(run), run.tally.tokens)

    def sampled(self, engines: Iterable[Engine], own: Mapping[int, int], running: Iterable[Run]) -> None:
        """The engines were measured. `own`: bytes of the pod's other processes; engines may be among them."""
        others, shares, nobody = dict(own), Counter[Model](), 0
        for engine in engines:
            others.pop(engine.pid or 0, None)
            if engine.measured:
                found, unused = divided(parts(engine, engine.measured, self._users, self._clock.monotonic()))
                shares.update(found)
                nobody += unused
        tenants = _tenants(running)
        holdings = [Holding(size, _weights(model, tenants)) for model, size in shares.items()]
        self._ledger.sample(self._now(), [*holdings, Holding(nobody + sum(others.values()), {})])
        for model in self._sharing - shares.keys():
            model.share = None
        for model, size in shares.items():
            model.share = size
        self._sharing = set(shares)

    async def report(self, pod: str) -> PodUsage:
        self._ledger.settle(self._now())
        books, until = self._ledger.books(), self._clock.wall()
        return await asyncio.to_thread(pod_usage, books, pod=pod, since=self._since, until=until)

    def of_models(self) -> tuple[dict[ModelId, Totals], Totals]:
        """Totals by Model, and what is nobody's. Models that are configured no more are one of each namespace."""
        self._ledger.settle(self._now())
        found: dict[ModelId, Totals] = {}
        for account, totals in self._ledger.accounts().items():
            known = account.model in self._registry.models
            model = account.model if known else ModelId(account.model.namespace, ELSE)
            found.setdefault(model, Totals()).add(totals)
        return found, self._ledger.unattributed

    def _users(self, unit: Unit) -> Iterable[Model]:
        return self._registry.users(unit.key)

    def _now(self) -> int:
        return int(self._clock.monotonic() * 1_000_000)


def _account(run: Run) -> Account:
    return Account(run.model.id, run.job.tenant)


def _tenants(running: Iterable[Run]) -> dict[Model, Counter[str]]:
    found: dict[Model, Counter[str]] = {}
    for run in running:
        found.setdefault(run.model, Counter())[run.job.tenant] += 1
    return found


def _weights(model: Model, running: Mapping[Model, Counter[str]]) -> dict[Account, int]:
    tenants = running.get(model) or Counter(run.job.tenant for run in model.queue) or {model.last_tenant: 1}
    return {Account(model.id, tenant): count for tenant, count in tenants.items()}
