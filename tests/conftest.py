"""What all tests share: marks by folder, hypothesis without a clock, and the models (see tests/models)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests import models

HERE = Path(__file__).parent
# Many processes at once, each watched closely: they need a machine that does nothing else.
ALONE = ("integration/gateway",)

# Other work on the machine must not fail a test; a counterexample comes with what reproduces it.
settings.register_profile("paddock", deadline=None, print_blob=True)
settings.load_profile("paddock")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        place = item.path.relative_to(HERE)
        folder = place.parts[0]
        if place.as_posix().startswith(ALONE):
            item.add_marker("nightly")
        if folder in ("unit", "integration", "e2e"):
            item.add_marker(folder)


def pytest_unconfigure() -> None:
    """llama_cpp leaves two files open, and says so at the end when warnings are shown."""
    if utilities := sys.modules.get("llama_cpp._utils"):
        utilities.outnull_file.close()
        utilities.errnull_file.close()


@pytest.fixture(scope="session")
def gemma() -> Path:
    """Gemma 3 270M Q4_K_M: a real sliding-window model, without a chat template."""
    return models.gemma()


@pytest.fixture(scope="session")
def gemma_q8() -> Path:
    """The same in Q8_0: another size, another digest."""
    return models.gemma_as("Q8_0")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """all-MiniLM-L6-v2: a real encoder."""
    return models.minilm()


@pytest.fixture(scope="session")
def full_model() -> Path:
    """Random, full attention."""
    return models.full()


@pytest.fixture(scope="session")
def sliding_model() -> Path:
    """Random, window of 64 tokens."""
    return models.sliding()


@pytest.fixture(scope="session")
def recurrent_model() -> Path:
    """Random, state space only."""
    return models.recurrent()


@pytest.fixture(scope="session")
def hybrid_model() -> Path:
    """Random, state space and attention."""
    return models.hybrid()


@pytest.fixture(scope="session")
def tiny() -> Callable[[int], Path]:
    """`tiny(n)`: random models that differ in nothing but their weights."""
    return models.tiny
