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
    """What the hub in the cluster serves: OWNER/NAME/FILE → the file. Gemma is real; the tiny ones are random."""
    tiny = {f"paddock-test/tiny-{n}-GGUF/tiny-{n}-F32.gguf": models.tiny(n) for n in range(4)}
    return {"paddock-test/gemma-3-270m-GGUF/gemma-3-270m-Q4_K_M.gguf": models.gemma(), **tiny}


def _tools() -> Recipe:
    contexts = {"models": _models(), "requirements": ROOT / "requirements"}
    return Recipe(
        TOOLS, ("hub", "e2e/agent.py"), context=ROOT / "tests", file="e2e/image/Dockerfile", contexts=contexts
    )


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
