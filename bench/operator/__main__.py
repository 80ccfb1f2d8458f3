"""`python -m bench.operator`: progress on stderr, a JSON document on stdout. Ends with 1 when a trial was not valid."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.operator import report
from bench.operator.trial import Settings, Trial, trial
from bench.procs import cpu_model, usable_cores
from tests import models
from tests.cluster.problems import ClusterError

_MODELS = (125, 250, 500)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.operator", description="Measure what many Models cost.")
    parser.add_argument("--models", type=int, action="append", metavar="N",
                        help="Models that are applied at once (may be repeated; default 125, 250, 500)")
    parser.add_argument("--runs", type=int, default=3, help="trials with each number of Models (default 3)")
    parser.add_argument("--pods", type=int, default=1, help="runtime pods of the pool (default 1)")
    parser.add_argument("--patience", type=float, default=0.5, metavar="SECONDS",
                        help="what a Model may take before a trial is given up (default 0.5)")
    given = parser.parse_args(argv)
    given.models = sorted(set(given.models or _MODELS))
    if given.runs < 1 or given.pods < 1 or given.models[0] < 1 or given.patience <= 0:
        parser.error("--models, --runs, --pods and --patience must be at least 1, 1, 1 and more than 0")
    return given


def environment(load_before: tuple[float, float, float]) -> dict[str, Any]:
    commit = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=40"], capture_output=True, text=True,
                            cwd=Path(__file__).parent, check=False)
    return {"cpu": cpu_model(), "cores": os.cpu_count(), "usable_cores": usable_cores(),
            "kernel": platform.release(), "python": platform.python_version(), "kopf": version("kopf"),
            "commit": commit.stdout.strip() or None, "load_average_before": list(load_before)}


async def bench(given: argparse.Namespace, work: Path) -> dict[str, Any]:
    load_before = os.getloadavg()
    settings = Settings(pods=given.pods, patience=given.patience, tiny=models.tiny(0).read_bytes())
    trials: list[Trial] = []
    for run in range(given.runs):
        for count in order(given.models, run):
            print(f"bench: run {run + 1} of {given.runs}: {count} Models", file=sys.stderr, flush=True)
            found = await trial(count, settings, work / f"{run}-{count}")
            trials.append(found)
            print(f"bench:   Ready after {found.ready:.1f} s, settled after {found.settled:.1f} s, "
                  f"{found.audited.total() / count:.2f} writes a Model, {found.usage.cpu:.1f} CPU seconds, "
                  f"{found.usage.peak_rss >> 20} MiB", file=sys.stderr, flush=True)
    return report.document(
        trials, environment=environment(load_before), load_before=load_before[0],
        settings={"models": given.models, "runs": given.runs, "pods": given.pods, "patience": given.patience})


def order(counts: Sequence[int], run: int) -> list[int]:
    """Each run begins with another one."""
    at = run % len(counts)
    return [*counts[at:], *counts[:at]]


async def until_signal(work: Coroutine[object, object, dict[str, Any]]) -> dict[str, Any]:
    """SIGTERM ends it as Ctrl-C does: nothing of ours outlives the bench."""
    task = asyncio.create_task(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def main() -> int:
    given = arguments()
    try:
        with tempfile.TemporaryDirectory(prefix="paddock-bench-operator-") as work:
            result = asyncio.run(until_signal(bench(given, Path(work))))
    except (ClusterError, AssertionError, TimeoutError) as error:
        print(f"bench: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("bench: broken off", file=sys.stderr)
        return 130
    print(json.dumps(result, indent=2))
    return 0 if result["valid"] else 1


if __name__ == "__main__":
    sys.exit(main())
