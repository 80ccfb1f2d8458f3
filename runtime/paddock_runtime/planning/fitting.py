"""Who is in memory together and who leaves for whom: asked of the scheduler itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from paddock_runtime.replay import Candidate
from paddock_runtime.scheduler import Budget, Decision, Evict, Load, Refuse, Resident, Wanted, decide

_LONG_AFTER = 1e6  # seconds: everybody is old enough to go


@dataclass(frozen=True)
class Fit:
    """`together`: in memory at once, in the order of their loads. `evicts`: who else would be loaded, and who leaves
    for it. `refused`: who can't be loaded at all, with the bytes that it needs and that can be made free."""

    together: tuple[str, ...]
    used_bytes: int
    evicts: Mapping[str, tuple[str, ...]]
    refused: Mapping[str, tuple[int, int]]


def fit(models: Sequence[Candidate], memory_bytes: int, use_rates: Mapping[str, float] | None = None) -> Fit:
    """First the pinned ones, then those to be preloaded, then who else has room, by priority and name. `use_rates` are
    uses a second, where they are known; without them priority alone says who leaves."""
    budget = Budget(memory_bytes=memory_bytes, concurrent_loads=max(1, len(models)), crowd_points=0.0)
    inside: list[Candidate] = []
    for group in ([each for each in models if each.pinned], [each for each in models if each.kept], models):
        waiting = [each for each in group if each not in inside]
        decision = _decide(budget, inside, waiting, use_rates or {}, spare=True)
        by_key = {each.key: each for each in waiting}
        inside += [by_key[action.key] for action in decision.actions if isinstance(action, Load)]
    evicts: dict[str, tuple[str, ...]] = {}
    refused: dict[str, tuple[int, int]] = {}
    for model in (each for each in models if each not in inside):
        actions = _decide(budget, inside, [model], use_rates or {}, spare=False).actions
        refusals = [action for action in actions if isinstance(action, Refuse)]
        if refusals:
            refused[model.key] = (refusals[0].needed_bytes, refusals[0].available_bytes)
        else:
            evicts[model.key] = tuple(action.key for action in actions if isinstance(action, Evict))
    return Fit(tuple(each.key for each in inside), _used(inside), evicts, refused)


def _decide(budget: Budget, inside: Iterable[Candidate], waiting: Iterable[Candidate], use_rates: Mapping[str, float],
            *, spare: bool) -> Decision:
    residents = [Resident(
        key=each.key, weights=each.weights, context_bytes=each.context_bytes, weights_bytes=each.weights_bytes,
        idle_timeout=2 * _LONG_AFTER, priority=each.priority, pinned=each.pinned, kept=each.kept,
        use_rate=use_rates.get(each.key, 0.0), load_seconds=each.load_seconds) for each in inside]
    wants = [Wanted(key=each.key, weights=each.weights, context_bytes=each.context_bytes,
                    weights_bytes=each.weights_bytes, since=_LONG_AFTER, priority=each.priority, spare=spare)
             for each in waiting]
    return decide(budget, residents, wants, _LONG_AFTER)


def _used(models: Iterable[Candidate]) -> int:
    weights: dict[str, int] = {}
    contexts = 0
    for model in models:
        weights[model.weights] = max(weights.get(model.weights, 0), model.weights_bytes)
        contexts += model.context_bytes
    return contexts + sum(weights.values())
