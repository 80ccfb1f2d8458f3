from __future__ import annotations

from typing import Any

import pytest

from paddock_api.identity import ModelId
from paddock_api.model import ModelSpec
from paddock_api.pool import PoolConfig, PoolEntry, assigned_to, config_hash, diff
from paddock_api.revision import Resolution, Revision, revision_of


def revision(path: str = "a.gguf", files: list[str] | None = None, **engine: Any) -> Revision:
    spec = ModelSpec.model_validate({"source": {"file": {"path": path}}, "engine": engine})
    return revision_of(spec, Resolution(files=files or []))


def config(*entries: PoolEntry, generation: int = 1) -> PoolConfig:
    return PoolConfig(generation=generation, models={str(entry.id): entry for entry in entries})


def entry(name: str, desired: Revision | None = None, **more: Any) -> PoolEntry:
    return PoolEntry(namespace="n", name=name, desired=desired or revision(), **more)


BASE = config(entry("a"), entry("b", assigned=["p-0", "p-1"]))


def test_hash_is_of_the_content_not_of_order_or_generation() -> None:
    turned = config(entry("b", assigned=["p-1", "p-0"]), entry("a"), generation=7)
    assert config_hash(turned) == config_hash(BASE)
    assert config_hash(BASE) == "c817a81e52a90d59", "pinned: old and new pods agree on what is in force"


@pytest.mark.parametrize("other", [
    config(entry("a")), config(entry("a"), entry("b")), config(entry("a", revision("x")), BASE.models["n/b"]),
    config(entry("a", last_good=revision("x")), BASE.models["n/b"]),
    config(entry("a", revision(files=["/elsewhere"])), BASE.models["n/b"]), config(),
])
def test_hash_changes_with_anything_a_pod_must_know(other: PoolConfig) -> None:
    assert config_hash(other) != config_hash(BASE)
    assert diff(BASE, other)


def test_a_config_survives_json() -> None:
    again = PoolConfig.model_validate_json(BASE.model_dump_json())
    assert again == BASE
    assert config_hash(again) == config_hash(BASE)
    assert not diff(BASE, again)


@pytest.mark.parametrize(("new", "flags"), [
    (entry("a", revision(chatTemplate="x")), {"revision"}),
    (entry("a", revision(contextLength=5)), {"revision", "reload"}),
    (entry("a", revision(files=["/elsewhere"])), {"places"}),
    (entry("a", last_good=revision()), {"last_good"}),
    (entry("a", assigned=["p-0"]), {"assigned"}),
    (entry("a", revision("b", files=["x"]), last_good=revision(), assigned=["p"]),
     {"revision", "reload", "places", "last_good", "assigned"}),
])
def test_diff_says_how_an_entry_changed(new: PoolEntry, flags: set[str]) -> None:
    (change,) = diff(config(entry("a")), config(new)).changed
    assert change.model == ModelId("n", "a")
    assert {name for name in change._fields[3:] if getattr(change, name)} == flags


def test_diff_adds_and_removes_in_order() -> None:
    found = diff(config(entry("a"), entry("c")), config(entry("d"), entry("b"), entry("c")))
    assert [item.name for item in found.added] == ["b", "d"]
    assert [item.name for item in found.removed] == ["a"]
    assert found.changed == []
    assert [item.name for item in diff(None, BASE).added] == ["a", "b"]
    assert not diff(None, config())


def test_assignments() -> None:
    assert assigned_to(BASE, "p-1") == [ModelId("n", "b")]
    assert assigned_to(BASE, "p-2") == []


def test_a_key_that_names_another_entry_is_refused() -> None:
    with pytest.raises(ValueError, match="'n/x' does not name its entry n/a"):
        PoolConfig(generation=1, models={"n/x": entry("a")})


def test_settings_and_further_digests_are_in_force_too_and_leave_no_trace_while_they_are_not_set() -> None:
    assert config_hash(BASE.model_copy(update={"settings": {"some": 0}})) != config_hash(BASE)
    sharded = [revision(files=["1", "2"]).model_copy(update={"resolution": Resolution(
        sha256="a", files=["1", "2"], sha256s=digests)}) for digests in ([], ["a", "b"], ["a", "c"])]
    assert len({config_hash(config(entry("a", one))) for one in sharded}) == 3
