"""huggingface_hub reads its settings when it is imported: with this one it asks nobody but the double."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from paddock_operator.resolve import Resolver
from tests import models
from tests.hub import Double, running

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

ALICE, BOB = "hf_alice", "hf_bob"


@pytest.fixture
def double() -> Iterator[Double]:
    """A hub double; a request that it does not know fails the test."""
    double = Double(tokens={ALICE: "alice", BOB: "bob"})
    yield double
    assert double.unknown == []


@pytest.fixture
def endpoint(double: Double) -> Iterator[str]:
    """Where the double listens."""
    with running(double) as endpoint:
        yield endpoint


@pytest.fixture
async def resolver(double: Double, endpoint: str) -> AsyncIterator[Resolver]:
    """As in a cluster whose hub is the double: its file store is private too, and allowed by name."""
    resolver = Resolver(endpoint=endpoint, allow_hosts=[f"127.0.0.1:{double.cdn_port}"], deadline=10.0)
    yield resolver
    await resolver.aclose()


@pytest.fixture(scope="session")
def weights() -> Path:
    """A real GGUF of about 1 MB."""
    return models.tiny(0)
