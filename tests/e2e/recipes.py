"""The images of a run: Paddock's own, and the tests' tools."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import llama_wheel

from tests import models
from tests.cluster import binaries, images
from tests.cluster.images import ROOT, Recipe

TOOLS = "e2e-tools"
NAMES = (*images.TARGETS, TOOLS)
TINY = 7  # models with random weights


def all_of(*, compiled_here: bool) -> list[Recipe]:
    """`compiled_here`: with this machine's own wheel of llama-cpp-python, instead of compiling for every processor."""
    wheel = llama_wheel.ensure(Path(sys.executable), ROOT / "requirements").parent if compiled_here else None
    return [*(images.paddock(target, wheel) for target in images.TARGETS), _tools()]


def docker_options(recipe: Recipe) -> list[str]:
    """What `docker build` is told."""
    contexts = [f"--build-context={name}={folder}" for name, folder in recipe.contexts.items()]
    arguments = [f"--build-arg={name}={value}" for name, value in recipe.arguments.items()]
    place = [f"--file={recipe.context / recipe.file}", f"--target={recipe.target}", str(recipe.context)]
    return [*contexts, *arguments, *place]


def repositories() -> dict[str, Path]:
    """What the hub in the cluster serves: OWNER/NAME/FILE → the file. Under the name of the example's model there is a
    smaller real one, Gemma; the tiny ones are random."""
    tiny = {f"{tiny_repository(n)}/{tiny_file(n)}": models.tiny(n) for n in range(TINY)}
    return {"Qwen/Qwen2.5-0.5B-Instruct-GGUF/qwen2.5-0.5b-instruct-q4_k_m.gguf": models.gemma_chat(), **tiny}


def tiny_repository(number: int) -> str:
    return f"paddock-test/tiny-{number}-GGUF"


def tiny_file(number: int) -> str:
    return f"tiny-{number}-F32.gguf"


def _tools() -> Recipe:
    contexts = {"models": _models(), "requirements": ROOT / "requirements"}
    inputs = ("hub", "e2e/agent.py", "e2e/prober.py")
    return Recipe(TOOLS, inputs, context=ROOT / "tests", file="e2e/image/Dockerfile", contexts=contexts)


def _models() -> Path:
    """A folder of hard links, which a build context can be."""
    folder = binaries.cache() / "images/models"
    shutil.rmtree(folder, ignore_errors=True)
    for name, source in repositories().items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, place)
        except OSError:
            shutil.copyfile(source, place)
    return folder
