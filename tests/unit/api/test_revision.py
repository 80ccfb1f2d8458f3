"""Hashes of revisions. If a golden value here changes, running installations reload every Model: make a new format."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from paddock_api.canonical import canonical_json
from paddock_api.model import Engine, ModelSpec
from paddock_api.revision import Resolution, Revision, context_key, revision_of, weights_key

RESOLVED = Resolution(sha256="c" * 64, size=253_113_024, files=["/models/gemma.gguf"])
FILE = {"source": {"file": {"path": "gemma.gguf"}}}


def revision(spec: dict[str, Any], resolution: Resolution = RESOLVED) -> Revision:
    return revision_of(ModelSpec.model_validate(spec), resolution)


def with_engine(**engine: Any) -> dict[str, Any]:
    return {**FILE, "engine": engine}


# (spec, resolution, id, load_key, weights_key, context_key), pinned in format 1
GOLDEN: list[tuple[dict[str, Any], Resolution, tuple[str, str, str, str]]] = [
    (FILE, Resolution(),
     ("d598313eb13cce86", "3adbdd7f8a078543", "0fd947e190a5d238", "4ff44436b7870e48")),
    (FILE, RESOLVED,
     ("04c713986daa4bbc", "8c34b8386efdeec6", "97b893b612e01d89", "4ff44436b7870e48")),
    ({"source": {"http": {"url": "https://h.example/m.gguf", "sha256": "d" * 64}}, "aliases": ["gpt-4o"],
      "engine": {"contextLength": 4096, "gpuLayers": 0, "chatTemplate": "{{ 'é' }}"},
      "defaults": {"temperature": 0.7, "topP": 1.0, "seed": 0}, "loading": {"idleTimeout": "0s"}},
     Resolution(sha256="d" * 64, size=1),
     ("936090492b4645d9", "f2ca196015529ff0", "6af139618692780c", "7de1ef4e0f44dfbf")),
    ({"source": {"huggingFace": {"repo": "o/r", "quant": "Q4_K_M"}}, "updatePolicy": "Follow",
      "engine": {"cacheTypeK": "Q8_0", "cacheTypeV": "Q8_0", "parallel": 4, "cacheTokens": 8192,
                 "slidingWindowCache": "Window"}},
     Resolution(commit="0123abcd"),
     ("83f52cee4f1c74a0", "5f5a8fee49d654a3", "c24d06670d3fe52d", "7f10d8c0ce9534eb")),
    ({"source": {"hub": {"name": "h", "model": "m"}}, "engine": {
        "embeddings": True, "pooling": "Mean", "adapters": [{"source": {"file": {"path": "a.gguf"}}, "scale": 0.5}]},
      "scaling": {"minReplicas": 1, "maxReplicas": 2}, "poolRef": {"name": "gpu"}, "revisionHistoryLimit": 0},
     RESOLVED,
     ("3b633f9f61d48f87", "2f772a72c7ea439d", "97b893b612e01d89", "c706d7a19c301a62")),
]


@pytest.mark.parametrize(("spec", "resolution", "pinned"), GOLDEN)
def test_old_revisions_keep_their_hashes(
    spec: dict[str, Any], resolution: Resolution, pinned: tuple[str, str, str, str]
) -> None:
    made = revision(spec, resolution)
    assert (made.id, made.load_key, weights_key(made), context_key(made)) == pinned


class NewerEngine(Engine):
    """What a later release might have: one more field that shapes contexts, with a default."""

    draft_tokens: Annotated[int, Field(ge=0)] = 7


class NewerSpec(ModelSpec):
    engine: NewerEngine = NewerEngine()
    judges: list[str] = Field(default_factory=lambda: ["a new default"])


@pytest.mark.parametrize(("spec", "resolution", "pinned"), GOLDEN)
def test_a_field_added_later_with_a_default_changes_no_hash(
    spec: dict[str, Any], resolution: Resolution, pinned: tuple[str, str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paddock_api.revision._CONTEXT_FIELDS", (*_context_fields(), "draft_tokens"))
    newer = revision_of(NewerSpec.model_validate(spec), resolution)
    assert (newer.id, newer.load_key, weights_key(newer), context_key(newer)) == pinned
    used = {**spec, "engine": {**spec.get("engine", {}), "draftTokens": 0}}
    changed = revision_of(NewerSpec.model_validate(used), resolution)
    assert changed.id != pinned[0], "an explicit zero counts"
    assert changed.load_key != pinned[1]
    written = {**used, "engine": {**used["engine"], "draftTokens": 7}}
    explicit = revision_of(NewerSpec.model_validate(written), resolution)
    assert explicit.id != pinned[0]
    assert explicit.load_key == pinned[1]


def _context_fields() -> tuple[str, ...]:
    from paddock_api import revision as module

    return module._CONTEXT_FIELDS


BASE = revision(with_engine(contextLength=2048))
RELOADING: list[tuple[dict[str, Any], str]] = [
    ({"contextLength": 1024}, "context"), ({}, "context"), ({"contextLength": 2048, "cacheTokens": 4096}, "context"),
    ({"contextLength": 2048, "parallel": 2}, "context"), ({"contextLength": 2048, "cacheTypeK": "Q8_0"}, "context"),
    ({"contextLength": 2048, "cacheTypeV": "F32"}, "context"), ({"contextLength": 2048, "embeddings": True}, "context"),
    ({"contextLength": 2048, "slidingWindowCache": "Window"}, "context"),
    ({"contextLength": 2048, "pooling": "None"}, "context"),
    ({"contextLength": 2048, "adapters": [{"source": {"file": {"path": "a"}}}]}, "context"),
    ({"contextLength": 2048, "gpuLayers": -1}, "weights"),
]


@pytest.mark.parametrize(("engine", "part"), RELOADING)
def test_what_shapes_weights_or_context_reloads(engine: dict[str, Any], part: str) -> None:
    other = revision(with_engine(**engine))
    assert other.id != BASE.id
    assert other.load_key != BASE.load_key
    assert (weights_key(other) != weights_key(BASE)) == (part == "weights")
    assert (context_key(other) != context_key(BASE)) == (part == "context")


@pytest.mark.parametrize("change", [
    {"defaults": {"temperature": 0}}, {"loading": {"policy": "Pinned"}}, {"scaling": {"minReplicas": 2}},
    {"aliases": ["x"]}, {"poolRef": {"name": "p"}}, {"revisionHistoryLimit": 0}, {"updatePolicy": "Follow"},
    {"engine": {"contextLength": 2048, "chatTemplate": "x"}},
    {"source": {"http": {"url": "https://h/m", "sha256": "c" * 64}}},
])
def test_what_needs_no_reload_changes_only_the_id(change: dict[str, Any]) -> None:
    other = revision({**with_engine(contextLength=2048), **change})
    assert other.id != BASE.id
    assert other.load_key == BASE.load_key


DEFAULTS_WRITTEN = {"type": "llama.cpp", "gpuLayers": 0, "cacheTypeK": "F16", "cacheTypeV": "F16",
                    "slidingWindowCache": "Full", "embeddings": False, "adapters": []}


@pytest.mark.parametrize("field", DEFAULTS_WRITTEN)
def test_writing_a_default_down_is_a_new_id_but_loads_nothing(field: str) -> None:
    plain, written = revision(with_engine()), revision(with_engine(**{field: DEFAULTS_WRITTEN[field]}))
    assert written.id != plain.id
    assert written.load_key == plain.load_key


def test_defaults_inside_adapters_and_sources_load_nothing() -> None:
    bare = {"source": {"huggingFace": {"repo": "a/b"}}}
    full = {"source": {"huggingFace": {"repo": "a/b", "revision": "main"}}}
    one, other = revision(with_engine(adapters=[bare])), revision(with_engine(adapters=[{**full, "scale": 1}]))
    assert one.load_key == other.load_key
    assert revision(bare, Resolution()).load_key == revision(full, Resolution()).load_key


def test_places_are_not_identity_but_commit_digest_and_size_are() -> None:
    plain = revision(FILE)
    assert revision(FILE, RESOLVED.model_copy(update={"files": ["/elsewhere"]})).id == plain.id
    for change in ({"sha256": "e" * 64}, {"size": 1}, {"commit": "abc"}):
        assert revision(FILE, RESOLVED.model_copy(update=change)).id != plain.id
    assert revision(FILE, RESOLVED.model_copy(update={"sha256": "e" * 64})).load_key != plain.load_key
    hub = {"source": {"huggingFace": {"repo": "a/b"}}}
    assert revision(hub, Resolution(commit="1")).load_key != revision(hub, Resolution(commit="2")).load_key


def test_a_revision_survives_json_with_its_hashes() -> None:
    for spec, resolution, _ in GOLDEN:
        made = revision(spec, resolution)
        read = Revision.model_validate_json(made.model_dump_json())
        assert read == made
        assert revision_of(read.spec, read.resolution) == made


def test_integers_and_whole_floats_are_one_number() -> None:
    one, other = ({**FILE, "defaults": {"temperature": number}} for number in (1, 1.0))
    assert revision(one).id == revision(other).id
    assert canonical_json({"b": -0.0, "a": [1.5, 2.0, "é", True]}) == b'{"a":[1.5,2,"\\u00e9",true],"b":0}'


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_json_number_has_no_hash(bad: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": bad})


_scalar = (st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
           | st.text(max_size=5))
_json = st.recursive(_scalar, lambda inner: st.lists(inner, max_size=3)
                     | st.dictionaries(st.text(max_size=3), inner, max_size=3))


@given(st.dictionaries(st.text(max_size=3), _json, max_size=4))
def test_canonical_form_is_stable_under_order_and_reading_back(value: dict[str, Any]) -> None:
    form = canonical_json(value)
    assert canonical_json(dict(reversed(value.items()))) == form
    assert canonical_json(json.loads(form)) == form


def test_digests_of_further_shards_are_identity_and_no_others_are() -> None:
    """Two releases of a sharded file may share their first shard."""
    files, digests = ["/1", "/2"], ["c" * 64, "d" * 64]
    plain = revision(FILE, Resolution(sha256="c" * 64, files=files))
    known = revision(FILE, Resolution(sha256="c" * 64, files=files, sha256s=digests))
    other = revision(FILE, Resolution(sha256="c" * 64, files=files, sha256s=["c" * 64, "e" * 64]))
    assert len({plain.id, known.id, other.id}) == len({plain.load_key, known.load_key, other.load_key}) == 3
    one = Resolution(sha256="c" * 64, files=["/1"])
    assert revision(FILE, one.model_copy(update={"sha256s": ["c" * 64]})).id == revision(FILE, one).id


@pytest.mark.parametrize("digests", [["d" * 64, "c" * 64], ["c" * 64], ["c" * 64, "d" * 64, "e" * 64]])
def test_digests_that_do_not_stand_beside_the_files_are_refused(digests: list[str]) -> None:
    with pytest.raises(ValueError, match="sha256s: give one digest for each of files"):
        Resolution(sha256="c" * 64, files=["/1", "/2"], sha256s=digests)
