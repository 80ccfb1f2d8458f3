"""The pods that Models are assigned to: a new pod counts from when it was ready first, a broken one no more."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from paddock_operator.clock import Clock, monotonic


class Places:
    """Of one pool. `patience`: seconds that a pod may be not ready without losing what is assigned to it, since pods
    are replaced all the time."""

    def __init__(self, *, patience: float = 300.0, clock: Clock = monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self._seen: dict[str, float] | None = None

    def among(self, pods: Sequence[str], existing: Collection[str], ready: Collection[str]) -> list[str]:
        """Those of `pods` (what the pool is to have) that Models may be assigned to. `existing`: those that its
        StatefulSet has had until now; empty for a pool that is just made."""
        now = self._clock()
        if self._seen is None:
            self._seen = dict.fromkeys(existing or pods, now)
        self._seen.update(dict.fromkeys(ready, now))
        steady = [pod for pod in pods if now < self._seen.get(pod, now - self._patience) + self._patience]
        return steady or list(pods)
