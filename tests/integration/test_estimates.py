"""The estimate made of a header, against the buffers that llama.cpp makes of the file: every class of memory."""

from __future__ import annotations

import asyncio
import json
import platform
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paddock_api.engine import CacheType, Engine
from paddock_api.estimate import MIB, EngineOptions, engine_options, estimate
from paddock_api.gguf import GgufHeader, parse_header
from paddock_api.memory_layers import MemoryClass, memory_class
from tests import models

CHILD = Path(__file__).with_name("measured_buffers.py")


def header_of(path: Path) -> GgufHeader:
    with path.open("rb") as file:
        return parse_header(file.read(16 << 20), file_size=path.stat().st_size)


def choices(header: GgufHeader) -> list[EngineOptions]:
    """What the engine chooses by itself, and ways away from it."""
    usual = engine_options(header.facts, Engine())
    if memory_class(header.facts) is MemoryClass.ENCODER:
        return [replace(usual, context_length=tokens, cache_tokens=tokens, step_tokens=tokens, outputs=tokens)
                for tokens in (usual.context_length, 64)]
    return [
        usual, replace(usual, cache_tokens=2048, sequences=2, outputs=2), replace(usual, window_full=False),
        replace(usual, cache_tokens=4096, sequences=1, outputs=1, window_full=False),
        replace(usual, cache_type_k=CacheType.F32, cache_type_v=CacheType.F32), replace(usual, step_tokens=128),
    ]


async def measure(path: Path, wanted: list[EngineOptions], *, embeddings: bool) -> dict[str, Any]:
    asked = [{"cells": one.cache_tokens, "sequences": one.sequences, "step": one.step_tokens, "outputs": one.outputs,
              "cache": one.cache_type_k.value, "full": one.window_full, "embeddings": embeddings} for one in wanted]
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), str(path), json.dumps(asked),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    output, errors = await asyncio.wait_for(child.communicate(), 120)
    assert child.returncode == 0, errors.decode()
    measured: dict[str, Any] = json.loads(output)
    return measured


# What a tiny model needs besides its tensors is mostly fixed cost: there the upper bound is an amount.
SLACK = 12 * MIB
LOG_STEP = MIB // 100  # the log tells hundredths
CASES: list[tuple[str, Callable[[], Path], MemoryClass]] = [
    ("gemma", models.gemma, MemoryClass.SLIDING), ("minilm", models.minilm, MemoryClass.ENCODER),
    ("full", models.full, MemoryClass.FULL), ("sliding", models.sliding, MemoryClass.SLIDING),
    ("recurrent", models.recurrent, MemoryClass.RECURRENT), ("hybrid", models.hybrid, MemoryClass.HYBRID),
]


@pytest.mark.parametrize(("model", "kind"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_estimates_cover_what_the_engine_allocates(model: Callable[[], Path], kind: MemoryClass) -> None:
    path = model()
    header = header_of(path)
    assert memory_class(header.facts) is kind
    wanted = choices(header)
    measured = await measure(path, wanted, embeddings=kind is MemoryClass.ENCODER)
    assert len(measured["contexts"]) == len(wanted)
    weights = estimate(header, wanted[0], machine=platform.machine()).weights_bytes
    assert 0.95 * measured["weights"] <= weights <= 1.6 * measured["weights"] + MIB
    for options, buffers in zip(wanted, measured["contexts"], strict=True):
        found = estimate(header, options, machine=platform.machine())
        cache = buffers.get("KV", 0) + buffers.get("RS", 0)
        compute = max(buffers.get("compute", 0) + buffers.get("output", 0), buffers.get("grown", 0) - cache)
        told = f"{options}: measured {buffers}, estimated {found}"
        assert 0.95 * cache - LOG_STEP <= found.cache_bytes <= 1.6 * cache + SLACK, told
        assert 0.95 * compute <= found.compute_bytes <= 1.6 * compute + SLACK, told
        assert 0.95 * (cache + compute) <= found.context_bytes <= 1.6 * (cache + compute) + SLACK, told
