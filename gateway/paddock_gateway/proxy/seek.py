"""From a request to an answer that has begun: choose a pod, ask it, and on a refusal wait, ask another, or give up."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from paddock_api.errors import Code, PaddockError
from paddock_gateway.fleet.choose import choose
from paddock_gateway.fleet.snapshot import ModelInfo, Pod, PoolId, Snapshot
from paddock_gateway.fleet.world import PodKey, World
from paddock_gateway.metrics import Metrics
from paddock_gateway.proxy.budget import RETRIES_PER_REQUEST, RetryBudget
from paddock_gateway.proxy.traffic import Ticket, Traffic
from paddock_gateway.proxy.upstream import Ask, Opened
from paddock_gateway.proxy.verdict import Refusal, Verdict, refused

logger = logging.getLogger("paddock.gateway.proxy")

MAX_ATTEMPTS = 32
_RETRY_AFTER = 5.0
_NO_FIT_RETRY_AFTER = 60.0
# How long a pod that refused is left out, when it did not say; longer each time.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
_LONGEST_LOOK = 5.0  # so often a waiting request looks at the world although nothing was said to have changed


class GaveUp(Exception):
    """No answer: what the client is told."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(kw_only=True)
class Search:
    """What one request has learned. `out`: pods that have refused, and until when they are left out."""

    ask: Ask
    ticket: Ticket
    retries: int = 0
    last: Refusal | None = None
    prefer: str = ""  # where lost work is tried again: the pod that counts its strikes
    out: dict[str, tuple[str, float]] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    no_fit: dict[tuple[str, str, int], Refusal] = field(default_factory=dict)


class Pods(Protocol):
    def doubt(self, key: PodKey) -> None:
        """See at once whether it is there."""
        ...


class Sender(Protocol):
    async def send(self, ask: Ask, pod: Pod) -> Opened | Refusal:
        """One attempt."""
        ...


class Seeker:
    def __init__(self, world: World, pods: Pods, upstream: Sender, traffic: Traffic, metrics: Metrics) -> None:
        self._world, self._pods, self._upstream = world, pods, upstream
        self._traffic, self._metrics = traffic, metrics
        self._budget = RetryBudget()

    async def seek(self, ask: Ask, ticket: Ticket) -> Opened:
        """The ticket stays at the pod that answers. Raises GaveUp."""
        search = Search(ask=ask, ticket=ticket)
        self._budget.request()
        while True:
            now = asyncio.get_running_loop().time()
            model = self._model(ask)
            pod = self._choose(search, model, now)
            if pod is None:
                await self._wait(search, model, now)
                continue
            if ask.attempts >= MAX_ATTEMPTS:
                raise GaveUp(_told(search.last, 0.0) or self._expired(model, search.last))
            ask.attempts += 1
            ticket.at(_key(pod))
            answer = await self._upstream.send(ask, pod)
            if isinstance(answer, Opened):
                return answer
            ticket.at(None)
            self._learn(search, model, pod, answer)

    def doubt(self, pod: Pod) -> None:
        """An answer of `pod` broke off: see whether it is there."""
        self._pods.doubt(_key(pod))

    # --- the choice

    def _model(self, ask: Ask) -> ModelInfo:
        """As it is now: while a request waits, its Model may be changed or removed."""
        model = self._world.snapshot.models.get(ask.model)
        if model is None:
            raise GaveUp(refused(PaddockError(Code.MODEL_NOT_FOUND, f"The model {ask.model} was removed.",
                                              param="model")))
        return model

    def _choose(self, search: Search, model: ModelInfo, now: float) -> Pod | None:
        pods = self._world.snapshot.pods.get(model.pool, ())
        excluded = {pod.name for pod in pods if self._is_out(search, pod, now)}
        loads = self._traffic.loads(model.id, {pod.name: _key(pod) for pod in pods})
        if search.prefer and search.prefer not in excluded:
            same = [pod for pod in pods if pod.name == search.prefer and not pod.draining]
            search.prefer = ""
            if same:
                return same[0]
        busy = search.last is not None and search.last.verdict is Verdict.BUSY
        return choose(model, pods, loads=loads, excluded=excluded, ready_only=busy)

    def _is_out(self, search: Search, pod: Pod, now: float) -> bool:
        """A pod that was restarted, or has another configuration, may think otherwise."""
        if (pod.name, pod.life, pod.config_generation) in search.no_fit:
            return True
        life, until = search.out.get(pod.name, ("", 0.0))
        return now < until and life == _life(pod)

    # --- after a refusal

    def _learn(self, search: Search, model: ModelInfo, pod: Pod, refusal: Refusal) -> None:
        """Leaves `pod` out for a while, or gives up. Raises GaveUp."""
        search.last = refusal
        now = asyncio.get_running_loop().time()
        self._metrics.refused(str(model.id), refusal.verdict)
        logger.info("a pod refused", extra={
            "model": str(model.id), "pod": pod.name, "request_id": search.ask.request_id, "code": refusal.code,
            "reason": refusal.verdict.value})
        if refusal.lost:
            self._pods.doubt(_key(pod))
        if refusal.code == Code.DRAINING:
            self._world.draining(_key(pod))
        match refusal.verdict:
            case Verdict.FINAL:
                raise GaveUp(refusal)
            case Verdict.NO_FIT:
                search.no_fit[pod.name, pod.life, pod.config_generation] = refusal
            case Verdict.BUSY:
                search.out[pod.name] = (_life(pod), math.inf)
            case Verdict.AGAIN:
                self._again(search, pod, refusal, now)
            case _:
                search.refusals[pod.name] += 1
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** search.refusals[pod.name])
                search.out[pod.name] = (_life(pod), now + (refusal.retry_after or pause))

    def _again(self, search: Search, pod: Pod, refusal: Refusal, now: float) -> None:
        if search.retries >= RETRIES_PER_REQUEST or not self._budget.take():
            raise GaveUp(refusal)
        search.retries += 1
        self._metrics.retried(str(search.ask.model))
        if refusal.lost:
            search.out[pod.name] = (_life(pod), now + _FIRST_PAUSE)
        else:
            search.prefer = pod.name

    # --- without a pod

    async def _wait(self, search: Search, model: ModelInfo, now: float) -> None:
        """Until something changes or a pod may be asked again. Raises GaveUp when that can't be in time."""
        pods = [pod for pod in self._world.snapshot.pods.get(model.pool, ()) if not pod.draining]
        last = search.last
        if last is not None and last.verdict is Verdict.BUSY:
            raise GaveUp(last)
        if pods and all((pod.name, pod.life, pod.config_generation) in search.no_fit for pod in pods):
            raise GaveUp(_no_fit(list(search.no_fit.values())))
        ends = [until for _, until in search.out.values() if now < until < math.inf]
        soonest = min(ends, default=now)
        if now >= search.ask.hold_until or (pods and soonest > search.ask.hold_until):
            raise GaveUp(_told(last, soonest - now) or self._expired(model, last))
        search.ask.progress = "waiting for a pod"
        look = min([search.ask.hold_until, now + _LONGEST_LOOK, *ends])
        await self._world.changed(model.pool, look - now)

    def _expired(self, model: ModelInfo, last: Refusal | None) -> Refusal:
        snapshot = self._world.snapshot
        unknown = last is not None and last.code == Code.MODEL_NOT_FOUND
        why = ("its pods have not got its configuration yet: look at its status with kubectl describe."
               if unknown else why_nothing(model, snapshot))
        code = Code.HOLD_EXPIRED if snapshot.pods.get(model.pool) else Code.POOL_UNAVAILABLE
        return refused(PaddockError(code, f"{model.id} could not be served in the time that a request may wait: {why}",
                                    retry_after=_RETRY_AFTER))


def why_nothing(model: ModelInfo, snapshot: Snapshot) -> str:
    """Why no pod could be asked, in words for the client and for whoever it calls."""
    pool = model.pool
    unready = f" The Model is not ready ({model.unready})." if model.unready else ""
    if snapshot.pods.get(pool):
        return f"all pods of the pool {pool} were busy with other work or refused.{unready}"
    if silent := snapshot.silent.get(pool, 0):
        return f"none of the {silent} pods of the pool {pool} is ready.{unready}"
    return _no_pods(pool, snapshot) + unready


def _no_pods(pool: PoolId, snapshot: Snapshot) -> str:
    known = snapshot.pools.get(pool)
    if known is None:
        return f"there is no RuntimePool {pool}; create it, or set spec.poolRef of the Model."
    if known.replicas == 0:
        return f"the RuntimePool {pool} has 0 replicas; scale it up."
    return f"the RuntimePool {pool} has no pod that runs yet."


def _no_fit(refusals: Sequence[Refusal]) -> Refusal:
    """No pod can take it: as a pod said it, but 503, for the client has done nothing wrong. One that has no room only
    for a while speaks for all: then trying again helps."""
    passing = [refusal for refusal in refusals if refusal.retry_after is not None]
    if passing:
        return replace(min(passing, key=_retry_after), verdict=Verdict.FINAL, status=503, should_retry=True)
    return replace(refusals[-1], verdict=Verdict.FINAL, status=503, retry_after=_NO_FIT_RETRY_AFTER, should_retry=False)


def _retry_after(refusal: Refusal) -> float:
    return refusal.retry_after or _RETRY_AFTER


def _told(last: Refusal | None, seconds: float) -> Refusal | None:
    """Why the last pod can't serve for a while, as the end of the hold. Other reasons are no news to a client."""
    if last is None or last.verdict is not Verdict.LATER or last.code == Code.MODEL_NOT_FOUND:
        return None
    return replace(last, verdict=Verdict.FINAL, status=503, retry_after=max(last.retry_after or _RETRY_AFTER, seconds))


def _key(pod: Pod) -> PodKey:
    return PodKey(pod.pool, pod.name)


def _life(pod: Pod) -> str:
    """A pod that was restarted or configured anew is asked again."""
    return f"{pod.life}/{pod.config_generation}"
