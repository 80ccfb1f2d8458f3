"""An image is built anew when, and only when, something that it is made of changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import images
from tests.cluster.images import Recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    for name in ("context/Dockerfile", "context/code/a.py", "context/other/b.py", "wheels/x.whl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return Recipe("part", ("code",), context=tmp_path / "context", contexts={"llama": tmp_path / "wheels"})


@pytest.mark.parametrize("changed", ["context/Dockerfile", "context/code/a.py", "context/code/new.py", "wheels/x.whl"])
def test_a_changed_input_changes_the_key(recipe: Recipe, tmp_path: Path, changed: str) -> None:
    before = recipe.key()
    (tmp_path / changed).write_text("something longer than it was")
    assert recipe.key() != before


@pytest.mark.parametrize("changed", ["context/other/b.py", "context/code/__pycache__/a.pyc"])
def test_what_is_not_in_the_image_does_not(recipe: Recipe, tmp_path: Path, changed: str) -> None:
    before = recipe.key()
    (tmp_path / changed).parent.mkdir(exist_ok=True)
    (tmp_path / changed).write_text("something longer than it was")
    assert recipe.key() == before


def test_a_renamed_file_and_an_argument_count(recipe: Recipe, tmp_path: Path) -> None:
    before = recipe.key()
    code = tmp_path / "context/code"
    (code / "a.py").rename(code / "c.py")
    assert recipe.key() != before
    (code / "c.py").rename(code / "a.py")
    assert recipe.key() == before
    assert Recipe("part", ("code",), recipe.context, contexts=recipe.contexts, arguments={"A": "1"}).key() != before


def test_only_the_runtime_takes_a_wheel_of_llama(tmp_path: Path) -> None:
    taken = {target: dict(images.paddock(target, tmp_path).contexts) for target in images.TARGETS}
    assert taken == {"operator": {}, "gateway": {}, "runtime": {"llama": tmp_path}}
