"""From the book of values to the JSON document: medians, ratios, goals. Pure."""

from __future__ import annotations

from bench.book import Book, Metric
from bench.procs import Load
from bench.stats import geometric_mean, median, rounded

OURS = "paddock"
THROUGHPUTS = tuple(f"throughput_{concurrency}" for concurrency in (1, 4, 8, 16))

# The machine counts as busy when, of one core, others had more than this before or while something was measured.
BUSY_SHARE = 0.25

Json = dict[str, object]


def scenario(metric: Metric, runs: dict[str, list[float]]) -> Json:
    """Ours against the best of the peers' medians. Without values on both sides there is no ratio."""
    medians = {side: median(values) for side, values in runs.items() if values}
    peers = {side: value for side, value in medians.items() if side != OURS}
    ours = medians.get(OURS)
    best = (max if metric.higher_is_better else min)(peers, key=lambda side: peers[side], default=None)
    return {
        "unit": metric.unit,
        "better": "higher" if metric.higher_is_better else "lower",
        "ours": None if ours is None else rounded(ours),
        "peer": None if best is None else rounded(peers[best]),
        "peer_variant": best,
        "ratio": None if ours is None or best is None else rounded(ours / peers[best]),
        "runs": {side: [rounded(value) for value in values] for side, values in runs.items()},
    }


def scenarios(book: Book) -> dict[str, Json]:
    return {name: scenario(book.metrics[name], runs) for name, runs in book.values.items()}


def throughput_mean(measured: dict[str, Json]) -> float | None:
    """The geometric mean of the four ratios; None unless all four were measured."""
    ratios = [_number(measured, name, "ratio") for name in THROUGHPUTS]
    known = [ratio for ratio in ratios if ratio is not None]
    return rounded(geometric_mean(known)) if len(known) == len(THROUGHPUTS) else None


def goals(measured: dict[str, Json], *, claim: bool) -> list[Json]:
    """Each goal with its value. `met` is null when it was not measured or when nothing may be claimed."""
    ratios = [_number(measured, name, "ratio") for name in THROUGHPUTS]
    lowest = min((ratio for ratio in ratios if ratio is not None), default=None) if None not in ratios else None
    return [
        _at_least("geometric mean of the throughput ratios", throughput_mean(measured), 0.95, claim),
        _at_least("lowest of the throughput ratios", lowest, 0.9, claim),
        _at_most("cold burst: ratio of TTFT p50", _number(measured, "burst_cold_ttft_p50", "ratio"), 1 / 6, claim),
        _at_least("cold burst: ratio of throughput", _number(measured, "burst_cold_throughput", "ratio"), 2.5, claim),
        _at_most("cold request: ratio to starting llama-server and asking it",
                 _number(measured, "cold_request", "ratio"), 1.0, claim),
        _at_least("two busy models: share of one model's throughput",
                  _number(measured, "two_models_of_one", "ours"), 0.8, claim),
        _at_most("A B A B with room for one: ratio of seconds a request",
                 _number(measured, "switch_serial", "ratio"), 0.6, claim),
        _at_least("8 clients that alternate, room for one: ratio of requests/s",
                  _number(measured, "switch_8_clients", "ratio"), 1.5, claim),
        _at_most("return to a conversation of 2,000 tokens of an evicted model: ratio of TTFT",
                 _number(measured, "comeback", "ratio"), 1 / 8, claim),
        _at_most("three Models on one file: ratio of PSS", _number(measured, "aliases_pss", "ratio"), 0.7, claim),
        _at_most("cold request: ratio to the router's", _number(measured, "router_cold", "ratio"), 0.6, claim),
    ]


def cpu(book: Book) -> Json:
    """Median shares of one core, by scenario and side."""
    return {name: {side: _shares(loads) for side, loads in sides.items()} for name, sides in book.loads.items()}


def disturbances(book: Book, load_before: float) -> list[str]:
    """Why nothing may be claimed from this machine at this time; empty when it was idle but for the bench."""
    reasons = []
    if load_before > BUSY_SHARE:
        reasons.append(f"load average {load_before:.2f} before the start (idle is up to {BUSY_SHARE})")
    for name, sides in book.loads.items():
        for side, loads in sides.items():
            share = median([load.others for load in loads])
            if share > BUSY_SHARE:
                reasons.append(f"{name}, {side}: other processes used {share:.2f} of a core")
    return reasons


def document(book: Book, *, environment: Json, commands: dict[str, list[str]], settings: Json, load_before: float,
             ) -> Json:
    measured = scenarios(book)
    problems = [*book.problems, *book.mismatches()]
    reasons = disturbances(book, load_before) + (["not every run was valid"] if problems else [])
    return {
        "environment": environment,
        "settings": settings,
        "commands": commands,
        "valid": not problems,
        "problems": problems,
        "claim": not reasons,
        "no_claim_because": reasons,
        "throughput_geometric_mean": throughput_mean(measured),
        "goals": goals(measured, claim=not reasons),
        "scenarios": measured,
        "cpu_share_of_one_core": cpu(book),
    }


def _shares(loads: list[Load]) -> Json:
    return {"client": rounded(median([load.client for load in loads]), 2),
            "side": rounded(median([load.side for load in loads]), 3),
            "others": rounded(median([load.others for load in loads]), 2)}


def _number(measured: dict[str, Json], name: str, key: str) -> float | None:
    value = measured.get(name, {}).get(key)
    return value if isinstance(value, float | int) else None


def _at_least(goal: str, value: float | None, limit: float, claim: bool) -> Json:
    return {"goal": goal, "value": value, "at_least": rounded(limit),
            "met": value >= limit if claim and value is not None else None}


def _at_most(goal: str, value: float | None, limit: float, claim: bool) -> Json:
    return {"goal": goal, "value": value, "at_most": rounded(limit),
            "met": value <= limit if claim and value is not None else None}
