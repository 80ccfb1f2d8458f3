from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_api.errors import Code, PaddockError
from paddock_api.identity import ModelId
from paddock_api.naming import Named, NameIndex

INDEX = NameIndex([
    Named(ModelId("a", "gemma"), ("gpt-4o", "small")),
    Named(ModelId("a", "llama"), ("gemma", "twice")),
    Named(ModelId("a", "qwen"), ("twice",)),
    Named(ModelId("b", "gemma"), ()),
    Named(ModelId("b", "phi"), ("gpt-4o", "phi")),
    Named(ModelId("c", "other"), ("gemma",)),
])


@pytest.mark.parametrize(("name", "allowed", "model"), [
    ("llama", None, "a/llama"), ("small", None, "a/gemma"), ("a/gemma", None, "a/gemma"), ("b/gemma", None, "b/gemma"),
    ("gemma", {"a"}, "a/gemma"),  # the name beats llama's alias
    ("gemma", {"b"}, "b/gemma"), ("gemma", {"c"}, "c/other"), ("gpt-4o", {"b"}, "b/phi"), ("phi", None, "b/phi"),
])
def test_resolves(name: str, allowed: Collection[str] | None, model: str) -> None:
    assert str(INDEX.resolve(name, allowed)) == model


@pytest.mark.parametrize(("name", "allowed"), [
    ("nothing", None), ("", None), ("/", None), ("a/", None), ("/gemma", None), ("a/gemma/", None), ("a/small", None),
    ("b/gemma", {"a"}), ("phi", {"a"}), ("gemma", set()), ("GEMMA", None)])
def test_not_found_also_when_it_is_there_but_not_allowed(name: str, allowed: Collection[str] | None) -> None:
    with pytest.raises(PaddockError) as caught:
        INDEX.resolve(name, allowed)
    assert (caught.value.code, caught.value.param) == (Code.MODEL_NOT_FOUND, "model")
    assert "/v1/models" in caught.value.message


@pytest.mark.parametrize(("name", "allowed", "listed", "hidden"), [
    ("gemma", {"a", "b"}, ["a/gemma", "b/gemma"], ["a/llama", "c/other"]),
    ("gemma", {"b", "c"}, ["b/gemma", "c/other"], ["a/"]),
    ("twice", None, ["a/llama", "a/qwen"], ["b/"]),
    ("gpt-4o", None, ["a/gemma", "b/phi"], ["c/"]),
])
def test_ambiguous_lists_only_allowed_candidates(
    name: str, allowed: Collection[str] | None, listed: list[str], hidden: list[str]
) -> None:
    with pytest.raises(PaddockError) as caught:
        INDEX.resolve(name, allowed)
    assert (caught.value.code, caught.value.status) == (Code.AMBIGUOUS_MODEL, 400)
    assert all(text in caught.value.message for text in listed)
    assert not any(text in caught.value.message for text in hidden)


def test_long_lists_and_long_names_stay_short() -> None:
    many = NameIndex([Named(ModelId(f"n{number:03}", "m")) for number in range(200)])
    with pytest.raises(PaddockError, match="and 195 more") as caught:
        many.resolve("m")
    assert len(caught.value.message) < 300
    with pytest.raises(PaddockError) as long:
        many.resolve("x" * 100_000)
    assert len(long.value.message) < 300


_name = st.sampled_from(["x", "y", "z"])
_models = st.lists(st.builds(Named, st.builds(ModelId, _name, _name), st.lists(_name, max_size=2).map(tuple)),
                   unique_by=lambda named: named.id, max_size=9)


@given(_models, _name, st.sets(_name))
def test_full_names_are_exact_and_answers_are_allowed(models: list[Named], name: str, allowed: set[str]) -> None:
    index = NameIndex(models)
    for named in models:
        assert index.resolve(str(named.id)) == named.id
    found = index.candidates(name, allowed)
    assert len(set(found)) == len(found)
    by_id = {named.id: named for named in models}
    for model in found:
        assert model.namespace in allowed
        assert name == model.name or name in by_id[model].aliases
        if name != model.name:
            assert ModelId(model.namespace, name) not in by_id, "a name beats an alias in its namespace"
