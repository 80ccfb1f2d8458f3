"""What fits together, and who leaves for whom."""

from __future__ import annotations

from dataclasses import replace

from paddock_runtime.planning import fit
from paddock_runtime.replay import Candidate


def model(name: str, size: int, **changes: object) -> Candidate:
    base = Candidate(key=name, weights=f"w-{name}", weights_bytes=size - 5, context_bytes=5, load_seconds=1.0)
    return replace(base, **changes)  # type: ignore[arg-type]


def test_pinned_then_preloaded_then_by_priority_as_long_as_there_is_room() -> None:
    models = [model("a", 30), model("b", 30, priority=5), model("kept", 20, kept=True), model("pin", 40, pinned=True)]
    found = fit(models, 100)
    assert found.together == ("pin", "kept", "b")
    assert found.used_bytes == 90
    assert found.evicts == {"a": ("b",)}, "what is not kept leaves first"
    assert found.refused == {}


def test_a_small_one_fills_a_gap_and_a_large_one_drives_out_several() -> None:
    found = fit([model("a", 50), model("b", 40), model("c", 70), model("d", 10)], 100)
    assert found.together == ("a", "b", "d")
    assert found.evicts == {"c": ("a", "b")} or found.evicts == {"c": ("b", "a")}


def test_who_is_asked_for_often_stays() -> None:
    models = [model("a", 50), model("b", 50), model("c", 50)]
    assert fit(models, 100).evicts == {"c": ("a",)}
    assert fit(models, 100, {"a": 1.0, "b": 0.1}).evicts == {"c": ("b",)}


def test_what_can_not_fit_is_told_with_the_numbers() -> None:
    found = fit([model("huge", 200), model("pin", 60, pinned=True), model("a", 50)], 100)
    assert found.together == ("pin",)
    assert found.refused == {"huge": (200, 100), "a": (50, 40)}


def test_shared_weights_are_counted_once() -> None:
    found = fit([model("a", 80, weights="w"), model("b", 80, weights="w")], 100)
    assert found.together == ("a", "b")
    assert found.used_bytes == 85
