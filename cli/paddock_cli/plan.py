"""`paddock plan DIR`: what the Models would take, who fits beside whom, and how a recorded usage would have fared."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock_api.pool import PoolEntry
from paddock_cli.errors import CommandError
from paddock_cli.plan_table import table
from paddock_cli.serve import first_snapshot
from paddock_runtime.config import DirectorySource
from paddock_runtime.engine.llamacpp import LlamaCpp
from paddock_runtime.lifecycle import Limits
from paddock_runtime.planning import Fit, Sized, Unsized, fit, size_up
from paddock_runtime.replay import Compared, Trace, TraceError, compare, parse_trace
from paddock_runtime.scheduler import Budget
from paddock_runtime.store import FileStore
from paddock_runtime.system.cores import usable_cores

_SHARES = (0.5, 1.0, 2.0)  # of the budget: what less would cost, and what more would bring


@dataclass(frozen=True, kw_only=True)
class Options:
    directory: Path
    memory_bytes: int
    cache: Path
    usage: Path | None
    as_json: bool


def plan(options: Options) -> int:
    """Prints the plan. Raises CommandError for what `paddock serve` would not start with, and for a bad usage file."""
    config = first_snapshot(DirectorySource(options.directory), options.directory).config
    store = FileStore(options.cache) if (options.cache / "blobs").is_dir() else None
    sizes = {name: size_up(entry, LlamaCpp(), store) for name, entry in sorted(config.models.items())}
    candidates = {name: size.candidate for name, size in sizes.items() if isinstance(size, Sized)}
    trace = None if options.usage is None else _trace(options.usage, config.models, sizes)
    fitting = fit(list({each.key: each for each in candidates.values()}.values()), options.memory_bytes, _rates(trace))
    replays = [] if trace is None else _replays(trace, options.memory_bytes)
    report = _report(options.memory_bytes, sizes, fitting, replays)
    print(json.dumps(report, indent=2) if options.as_json else table(report))
    return 0


def _trace(path: Path, entries: dict[str, PoolEntry], sizes: dict[str, Sized | Unsized]) -> Trace:
    known = {}
    for name, size in sizes.items():
        if isinstance(size, Sized):
            known[name] = known[entries[name].name] = size.candidate
    try:
        with path.open(encoding="utf-8") as lines:
            return parse_trace(lines, known)
    except OSError as error:
        raise CommandError(f"can't read {path}: {error.strerror or error}") from None
    except (TraceError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error}") from None


def _rates(trace: Trace | None) -> dict[str, float]:
    if trace is None:
        return {}
    seconds = max(1.0, trace.requests[-1].time)
    return {key: count / seconds for key, count in Counter(request.model for request in trace.requests).items()}


def _replays(trace: Trace, memory_bytes: int) -> list[Compared]:
    limits = Limits()
    budget = Budget(
        memory_bytes=memory_bytes, concurrent_loads=limits.loads_at_once(usable_cores()),
        service_seconds=limits.service_seconds, points_per_second=limits.points_per_second,
        max_wait_seconds=limits.max_wait_seconds)
    return compare(trace, budget, [int(share * memory_bytes) for share in _SHARES])


def _report(memory_bytes: int, sizes: dict[str, Sized | Unsized], fitting: Fit, replays: list[Compared]
            ) -> dict[str, Any]:
    names: dict[str, list[str]] = {}
    for name, size in sizes.items():
        if isinstance(size, Sized):
            names.setdefault(size.candidate.key, []).append(name)
    models = [{"name": name, **_row(size, fitting, names)} for name, size in sizes.items()]
    return {
        "memoryBytes": memory_bytes, "usedBytes": fitting.used_bytes, "models": models,
        "replay": [{"policy": each.policy, "memoryBytes": each.memory_bytes, **each.outcome.summary()}
                   for each in replays]}


def _row(size: Sized | Unsized, fitting: Fit, names: dict[str, list[str]]) -> dict[str, Any]:
    if isinstance(size, Unsized):
        return {"state": "unknown", "reason": size.reason}
    key = size.candidate.key
    row: dict[str, Any] = {
        "weightsBytes": size.weights_bytes, "cacheBytes": size.cache_bytes, "computeBytes": size.compute_bytes,
        "adapterBytes": size.adapter_bytes, "totalBytes": size.total_bytes, "fileBytes": size.file_bytes,
        "coldSecondsEstimated": round(size.cold_seconds, 2), "architecture": size.architecture,
        "quantization": size.quantization}
    if key in fitting.together:
        return {**row, "state": "fits"}
    if key in fitting.refused:
        needed, available = fitting.refused[key]
        return {**row, "state": "refused", "neededBytes": needed, "availableBytes": available}
    return {**row, "state": "evicts", "evicts": [name for each in fitting.evicts[key] for name in names[each]]}
