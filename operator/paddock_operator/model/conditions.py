"""The conditions of a Model, each a chain of small checks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from paddock_api.behaviour import LoadingPolicy
from paddock_api.status import Condition, ConditionType
from paddock_operator.clock import timestamp
from paddock_operator.model.inputs import Failed, Input, NotTried, Pinned
from paddock_operator.model.reasons import Reason, memory, of_code, plain, pods, size

Truth = Literal["True", "False", "Unknown"]
# Why it is not loaded, as far as nothing newer is known.
_PAST = frozenset({Reason.IDLE, Reason.EVICTED})
_LEFT = {
    "room": (Reason.EVICTED, "another Model needed the memory"),
    "pressure": (Reason.EVICTED, "the pod's memory grew over its budget"),
}


class Aspect(NamedTuple):
    """A condition without its times. `passive`: it says only that nothing is seen to happen."""

    status: Truth
    reason: str
    message: str
    passive: bool = False


class Problem(NamedTuple):
    """`fallback`: the revision that serves nevertheless."""

    reason: str
    message: str
    fallback: str | None = None


def conditions(given: Input) -> list[Condition]:
    """In the order of the story: resolved, ready, degraded, cached, loaded."""
    old = {condition.type: condition for condition in (given.model.status.conditions if given.model.status else ())}
    problem = _problem(given)
    stopped = problem is not None and problem.fallback is None
    aspects = {
        ConditionType.RESOLVED: _resolved(given),
        ConditionType.READY: _ready(problem),
        ConditionType.DEGRADED: _degraded(given, problem),
        ConditionType.CACHED: _cached(given, stopped),
        ConditionType.LOADED: _loaded(given, old.get(ConditionType.LOADED), stopped),
    }
    return [_condition(kind, aspect, old.get(kind), given) for kind, aspect in aspects.items()]


def _condition(kind: ConditionType, aspect: Aspect, old: Condition | None, given: Input) -> Condition:
    if aspect.passive and given.picture.pending and old is not None:
        aspect = Aspect(old.status, old.reason, old.message)  # pods may still tell otherwise
    since = old.last_transition_time if old is not None and old.status == aspect.status else timestamp(given.now)
    return Condition(type=kind.value, status=aspect.status, reason=aspect.reason, message=aspect.message,
                     last_transition_time=since, observed_generation=given.model.metadata.generation)


def _resolved(given: Input) -> Aspect:
    match given.outcome:
        case NotTried():
            reason = given.refusal.reason if given.refusal is not None else Reason.RESOLVING
            return Aspect("Unknown", reason, "the source is not asked for before the Model may run")
        case Failed() as failed:
            return Aspect("False", failed.reason, failed.message)
        case Pinned(revision, facts, _):
            parts = [facts.file, facts.quantization, size(facts.size_bytes) if facts.size_bytes is not None else None,
                     f"commit {facts.commit}" if facts.commit else None,
                     f"sha256 {facts.sha256}" if facts.sha256 else None]
            return Aspect("True", Reason.RESOLVED, f"revision {revision}: {', '.join(filter(None, parts)) or 'unread'}")


def _problem(given: Input) -> Problem | None:
    """What keeps the wanted revision from being served on request."""
    checks: Iterable[Callable[[Input], Problem | None]] = (_refused, _pool_empty, _unresolved, _faulty, _too_large)
    return next((found for check in checks if (found := check(given)) is not None), None)


def _refused(given: Input) -> Problem | None:
    return None if given.refusal is None else Problem(given.refusal.reason, given.refusal.message)


def _pool_empty(given: Input) -> Problem | None:
    if given.pool_replicas != 0:
        return None
    return Problem(Reason.POOL_EMPTY, "the RuntimePool has spec.replicas 0; raise it to serve the Model")


def _unresolved(given: Input) -> Problem | None:
    failed = given.outcome
    return Problem(failed.reason, failed.message, failed.serving) if isinstance(failed, Failed) else None


def _faulty(given: Input) -> Problem | None:
    fault = given.picture.fault
    if fault is None:
        return None
    return Problem(of_code(fault.reason), plain(fault.message), _fallback(given))


def _too_large(given: Input) -> Problem | None:
    """An estimate, and a pod that has loaded it knows better."""
    if not isinstance(given.outcome, Pinned) or given.picture.proven:
        return None
    needed = given.outcome.estimated
    if needed is None or given.budget is None or needed <= given.budget:
        return None
    return Problem(Reason.CANNOT_FIT, (
        f"it needs about {memory(needed)} of memory and a pod has {memory(given.budget)}: lower "
        "spec.engine.cacheTokens or contextLength, take a smaller quantization, or raise the RuntimePool's "
        "spec.memory"), _fallback(given))


def _fallback(given: Input) -> str | None:
    return given.last_good if given.last_good != given.wanted else None


def _ready(problem: Problem | None) -> Aspect:
    if problem is None:
        return Aspect("True", Reason.SERVABLE, "requests are served; the first one loads it")
    if problem.fallback is not None:
        return Aspect("True", Reason.LAST_GOOD_SERVES, f"revision {problem.fallback} serves; {problem.message}")
    return Aspect("False", problem.reason, problem.message)


def _degraded(given: Input, problem: Problem | None) -> Aspect:
    if problem is not None and problem.fallback is not None:
        return Aspect("True", problem.reason, f"revision {problem.fallback} serves instead: {problem.message}")
    if problem is not None:
        return Aspect("False", Reason.NOT_SERVABLE, "no earlier revision serves instead")
    if given.picture.reporting == 0:
        return Aspect("Unknown", Reason.NO_REPORT, _NO_REPORT, passive=True)
    return Aspect("False", Reason.AS_WANTED, "nothing stands in for the wanted revision", passive=True)


_STOPPED = "nothing is done for it while it is not Ready"
_NO_REPORT = "no pod of the RuntimePool reports"


def _cached(given: Input, stopped: bool) -> Aspect:
    seen = given.picture.replicas
    having = seen.cached + seen.loading + seen.ready + seen.draining
    if having:
        return Aspect("True", Reason.CACHED, f"in the cache of {pods(having)}")
    if seen.fetching:
        return Aspect("False", Reason.FETCHING, f"{pods(seen.fetching)} download{'s' * (seen.fetching == 1)} it")
    if given.picture.reporting == 0:
        return Aspect("Unknown", Reason.NO_REPORT, _NO_REPORT, passive=True)
    when = _STOPPED if stopped else "the first request downloads it"
    return Aspect("False", Reason.NOT_CACHED, when, passive=True)


def _loaded(given: Input, old: Condition | None, stopped: bool) -> Aspect:
    picture, seen = given.picture, given.picture.replicas
    if seen.ready:
        return Aspect("True", Reason.LOADED, f"in memory of {pods(seen.ready)}")
    if seen.loading:
        return Aspect("False", Reason.LOADING, f"{pods(seen.loading)} load{'s' * (seen.loading == 1)} it")
    if seen.fetching:
        return Aspect("False", Reason.FETCHING, "downloaded first")
    if seen.draining:
        return Aspect("False", Reason.UNLOADING, "its last requests are finished")
    if picture.trouble is not None and (seen.failed or picture.fault is not None):
        return Aspect("False", of_code(picture.trouble.reason), plain(picture.trouble.message))
    if picture.reporting == 0:
        return Aspect("Unknown", Reason.NO_REPORT, _NO_REPORT, passive=True)
    if stopped:
        return Aspect("False", Reason.NOT_LOADED, _STOPPED, passive=True)
    return _at_rest(given, old)


def _at_rest(given: Input, old: Condition | None) -> Aspect:
    loading = given.model.spec.loading
    if given.unplaced:
        return Aspect("False", Reason.NO_ROOM, (
            "no pod has room for it beside the other Models that must stay loaded: raise the RuntimePool's spec.memory "
            "or spec.replicas, or lower minReplicas of a Model"))
    if given.picture.left == "idle":
        return Aspect("False", Reason.IDLE, (
            f"unloaded after {loading.idle_timeout} without a request (spec.loading.idleTimeout); the next one loads "
            "it again"))
    if given.picture.left in _LEFT:
        reason, why = _LEFT[given.picture.left]
        return Aspect("False", reason, f"unloaded: {why}; the next request loads it again")
    if old is not None and old.status == "False" and old.reason in _PAST:
        return Aspect("False", old.reason, old.message, passive=True)
    when = "the next request loads it" if loading.policy is LoadingPolicy.ON_DEMAND else "it is about to be loaded"
    return Aspect("False", Reason.NOT_LOADED, when, passive=True)
