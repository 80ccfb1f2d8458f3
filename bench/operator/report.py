"""From trials to the JSON document: medians, growth, goals. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from bench.operator import growth
from bench.operator.trial import Trial
from bench.operator.writes import named
from bench.report import BUSY_SHARE
from bench.stats import median, percentile, rounded

Json = dict[str, Any]
MOST_WRITES = 4.0
MOST_GROWTH = 1.5
_MIB = 1 << 20


def document(trials: Sequence[Trial], *, environment: Json, settings: Json, load_before: float) -> Json:
    sizes = {str(count): size([each for each in trials if each.models == count])
             for count in sorted({each.models for each in trials})}
    problems = [problem for each in trials for problem in (*each.problems, *disagreements(each))]
    reasons = disturbances(trials, load_before) + (["not every trial was valid"] if problems else [])
    return {
        "environment": environment, "settings": settings, "valid": not problems, "problems": problems,
        "claim": not reasons, "no_claim_because": reasons,
        "goals": goals(trials, timed=not reasons, valid=not problems), "growth": grown(trials), "models": sizes}


def size(trials: Sequence[Trial]) -> Json:
    """Medians over the trials of one number of Models."""
    def middle(values: Iterable[float]) -> float:
        return rounded(median(list(values)))

    count = trials[0].models
    return {
        "trials": len(trials),
        "writes_per_model": middle(each.audited.total() / count for each in trials),
        "writes_per_model_by_kind": {name: rounded(share, 3) for name, share in named(
            _sum(each.audited for each in trials), count * len(trials)).items()},
        "writes_refused": middle(each.refused.total() for each in trials),
        "writes_refused_by_kind": named(_sum(each.refused for each in trials), len(trials)),
        "lease_renewals": middle(each.leases for each in trials),
        "reads": named(_sum(each.read for each in trials), len(trials)),
        "seconds_until_applied": middle(each.applied for each in trials),
        "seconds_until_ready": middle(each.ready for each in trials),
        "seconds_until_settled": middle(each.settled for each in trials),
        "seconds_of_one_model": {f"p{share}": middle(percentile(each.waits, share) for each in trials)
                                 for share in (50, 99)},
        "milliseconds_per_model": middle(each.ready / count * 1e3 for each in trials),
        "configurations": middle(each.configurations for each in trials),
        "peak_rss_mib": middle(each.usage.peak_rss / _MIB for each in trials),
        "peak_pss_mib": middle(each.usage.peak_pss / _MIB for each in trials),
        "idle_pss_mib": middle(each.usage.idle_pss / _MIB for each in trials),
        "cpu_seconds": {name: middle(getattr(each.usage, key) for each in trials) for name, key in (
            ("operator", "cpu"), ("api_server_and_etcd", "servers"), ("bench", "client"), ("others", "others"))},
        "operator_cpu_milliseconds_per_model": middle(each.usage.cpu / count * 1e3 for each in trials),
        "seconds_until_ready_of_each_trial": [rounded(each.ready) for each in trials],
    }


def grown(trials: Sequence[Trial]) -> Json:
    """What one more Model costs, what there is without any, and how near to a straight line it is."""
    quantities: dict[str, list[tuple[float, float]]] = {
        "seconds_until_ready": [(each.models, each.ready) for each in trials],
        "seconds_until_settled": [(each.models, each.settled) for each in trials],
        "operator_cpu_seconds": [(each.models, each.usage.cpu) for each in trials],
        "peak_pss_mib": [(each.models, each.usage.peak_pss / _MIB) for each in trials],
        "writes": [(each.models, each.audited.total()) for each in trials],
    }
    found = {}
    for name, points in quantities.items():
        line, power = growth.line(points), growth.exponent(points)
        found[name] = {"each_model": None if line is None else rounded(line.each),
                       "fixed": None if line is None else rounded(line.fixed),
                       "explained_by_a_line": None if line is None else rounded(line.explained),
                       "exponent": None if power is None else rounded(power)}
    return found


def goals(trials: Sequence[Trial], *, timed: bool, valid: bool) -> list[Json]:
    """`met` is null when it was not measured, or when it can't be told from these trials."""
    worst = max(each.audited.total() / each.models for each in trials)
    times = [(count, median([each.ready for each in trials if each.models == count]))
             for count in {each.models for each in trials}]
    ratio = growth.per_model(times)
    least, most = min(times)[0], max(times)[0]
    return [
        {"goal": "writes a Model, at most in any trial", "value": rounded(worst), "at_most": MOST_WRITES,
         "met": worst <= MOST_WRITES if valid else None},
        {"goal": f"time a Model among {most} against among {least}", "at_most": MOST_GROWTH,
         "value": None if ratio is None else rounded(ratio),
         "met": None if ratio is None or not timed else ratio <= MOST_GROWTH},
    ]


def disagreements(given: Trial) -> list[str]:
    """Where the operator and the API server do not count the same."""
    differing = sorted(key for key in given.told.keys() | given.audited.keys() if given.told[key] != given.audited[key])
    return [f"{given.models} Models: {verb} {kind}: the operator counts {given.told[verb, kind]}, the API server's "
            f"audit log has {given.audited[verb, kind]}" for verb, kind in differing]


def disturbances(trials: Sequence[Trial], load_before: float) -> list[str]:
    """Why times may not be claimed; empty when the machine was idle but for the bench."""
    reasons = []
    if load_before > BUSY_SHARE:
        reasons.append(f"load average {load_before:.2f} before the start (idle is up to {BUSY_SHARE})")
    for count in sorted({each.models for each in trials}):
        share = median([each.usage.others / each.settled for each in trials if each.models == count])
        if share > BUSY_SHARE:
            reasons.append(f"{count} Models: other processes used {share:.2f} of a core")
    return reasons


def _sum(counts: Iterable[Counter[tuple[str, str]]]) -> Counter[tuple[str, str]]:
    total: Counter[tuple[str, str]] = Counter()
    for each in counts:
        total.update(each)
    return total
