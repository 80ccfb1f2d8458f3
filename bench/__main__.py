"""`python -m bench`: progress on stderr, one JSON document on stdout. Ends with 1 when a run was not valid."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Coroutine
from importlib.metadata import version
from pathlib import Path

from bench import build_llama_server, models, report
from bench.book import Book
from bench.contests import Plan, contests, play
from bench.procs import cpu_model, usable_cores
from bench.sides import CACHE_TOKENS, CONTEXT_LENGTH, PARALLEL

PARTS = ("serving", "cold", "two-models", "router", "aliases")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Paddock against llama-server.")
    parser.add_argument("--runs", type=int, default=5, help="alternating runs of each part (default 5)")
    parser.add_argument("--tokens", type=int, default=64, help="generated tokens a request (default 64)")
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part (may be repeated)")
    parser.add_argument("--null", action="store_true",
                        help="llama-server on both sides: every ratio should be 1, what is not is the noise")
    parser.add_argument("--seed", help="repeat the prompts of an earlier run (default: new ones)")
    parser.add_argument("--llama-server", type=Path, metavar="PATH", help="use this binary instead of building one")
    given = parser.parse_args(argv)
    if given.runs < 1 or given.tokens < 1:
        parser.error("--runs and --tokens must be at least 1")
    return given


def environment(load_before: tuple[float, float, float]) -> report.Json:
    commit = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=40"], capture_output=True, text=True,
                            cwd=Path(__file__).parent, check=False)
    return {"cpu": cpu_model(), "cores": os.cpu_count(), "usable_cores": usable_cores(),
            "kernel": platform.release(), "python": platform.python_version(),
            "llama_cpp_python": version("llama-cpp-python"), "commit": commit.stdout.strip() or None,
            "load_average_before": list(load_before)}


async def bench(given: argparse.Namespace, binary: Path, work: Path) -> report.Json:
    load_before = os.getloadavg()
    file = models.gemma()
    twin = models.twin(file, work / "twin.gguf")
    for path in (file, twin):
        models.warm_page_cache(path)
    plan = Plan(given.runs, given.tokens, given.seed or secrets.token_hex(4), usable_cores(), given.null, binary, work,
                (file, twin))
    parts = contests(plan)
    chosen = [parts[name] for name in PARTS if not given.only or name in given.only]
    book = Book()
    for contest in chosen:
        await play(plan, contest, book)
    return report.document(
        book, environment=environment(load_before), load_before=load_before[0],
        commands={f"{contest.name}: {side.name}": side.commands() for contest in chosen for side in contest.sides},
        settings={"runs": plan.runs, "tokens": plan.tokens, "seed": plan.seed, "null": plan.null,
                  "parallel": PARALLEL, "cache_tokens": CACHE_TOKENS, "paddock_context_length": CONTEXT_LENGTH})


async def until_signal(work: Coroutine[object, object, report.Json]) -> report.Json:
    """SIGTERM ends it as Ctrl-C does: no server of ours outlives the bench."""
    task = asyncio.create_task(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def main() -> int:
    given = arguments()
    try:
        binary = given.llama_server or build_llama_server.ensure()
        with tempfile.TemporaryDirectory(prefix="paddock-bench-") as work:
            result = asyncio.run(until_signal(bench(given, binary.resolve(), Path(work))))
    except (build_llama_server.BuildError, models.ModelFileError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("bench: broken off", file=sys.stderr)
        return 130
    print(json.dumps(result, indent=2))
    return 0 if result["valid"] else 1


if __name__ == "__main__":
    sys.exit(main())
