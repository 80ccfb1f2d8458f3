"""Shards: whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddock_api.canonical import canonical_json
from paddock_api.model import ModelSpec
from paddock_api.pool import PoolConfig, PoolEntry, config_hash
from paddock_api.revision import Resolution, Revision, revision_of
from paddock_api.shards import (
    COUNT,
    MAX_BYTES,
    IncompleteSet,
    ShardTooLarge,
    file_name,
    join,
    shard_of,
    split,
)

HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
NAMES = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)


@st.composite
def revisions(draw: st.DrawFn) -> Revision:
    spec = {
        "source": {"http": {"url": "https://h.example/" + draw(NAMES), "sha256": draw(HEX)}},
        "defaults": draw(st.fixed_dictionaries({}, optional={
            "temperature": st.floats(0, 2), "seed": st.integers(0, 2**32 - 1), "systemPrompt": st.text(max_size=40)})),
        "engine": draw(st.fixed_dictionaries({}, optional={
            "gpuLayers": st.integers(-1, 3), "embeddings": st.booleans(),
            "chatTemplate": st.text(min_size=1, max_size=40)})),
        "loading": draw(st.sampled_from([{}, {"policy": "Pinned", "priority": 0}])),
    }
    digests = draw(st.lists(HEX, max_size=3))
    resolution = Resolution(sha256=digests[0] if digests else None, sha256s=digests, size=draw(st.integers(0, 2**50)),
                            files=[f"https://h.example/{index}" for index in range(len(digests))])
    return revision_of(ModelSpec.model_validate(spec), resolution)


@st.composite
def configs(draw: st.DrawFn) -> PoolConfig:
    ids = draw(st.lists(st.tuples(NAMES, NAMES), max_size=12, unique=True))
    entries = [PoolEntry(namespace=namespace, name=name, desired=draw(revisions()),
                         last_good=draw(st.none() | revisions()),
                         assigned=draw(st.lists(st.sampled_from(["p-0", "p-1"]), max_size=2)))
               for namespace, name in ids]
    return PoolConfig(generation=draw(st.integers(0, 2**53)), models={str(entry.id): entry for entry in entries},
                      settings=draw(st.sampled_from([{}, {"some": {"setting": 0}}])))


def numbered(shards: list[bytes]) -> dict[int, bytes]:
    return dict(enumerate(shards))


@given(configs(), st.sampled_from([1, 2, 16]))
def test_what_was_split_is_joined_to_the_same(config: PoolConfig, count: int) -> None:
    shards = split(config, count)
    assert len(shards) == count
    again = join(numbered(shards))
    assert again == config
    assert json.loads(again.model_dump_json()) == json.loads(config.model_dump_json()), "and nothing that was not set"
    assert config_hash(again) == config_hash(config)
    assert split(again, count) == shards, "equal content gives equal bytes"


@settings(max_examples=40)
@given(configs(), st.sets(st.integers(0, COUNT - 1), min_size=1))
def test_a_set_that_lacks_any_shard_is_refused(config: PoolConfig, gone: set[int]) -> None:
    shards = {index: shard for index, shard in enumerate(split(config)) if index not in gone}
    with pytest.raises(IncompleteSet) as caught:
        join(shards)
    assert caught.value.missing == (tuple(sorted(gone)) if shards else ())


@settings(max_examples=40)
@given(configs(), configs(), st.sets(st.integers(0, COUNT - 1), min_size=1, max_size=COUNT - 1))
def test_a_mix_of_two_configurations_is_refused(old: PoolConfig, new: PoolConfig, late: set[int]) -> None:
    """Also when both have one generation, as after two leaders: the digests tell them apart."""
    before, after = split(old), split(new)
    mixed = {index: before[index] if index in late else after[index] for index in range(COUNT)}
    same_bytes = all(before[index] == after[index] for index in late)
    if same_bytes or all(before[index] == after[index] for index in set(range(COUNT)) - late):
        assert join(mixed) in (old, new)
    else:
        with pytest.raises(IncompleteSet):
            join(mixed)


@settings(max_examples=60)
@given(configs(), st.integers(0, COUNT - 1), st.data())
def test_a_broken_shard_is_refused_by_its_number(config: PoolConfig, index: int, data: st.DataObject) -> None:
    shards = numbered(split(config))
    whole = shards[index]
    place = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match=f"shard {index}: is cut off"):
        join({**shards, index: whole[:place]})
    flipped = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1:]
    try:
        joined = join({**shards, index: flipped})
    except (ValueError, IncompleteSet):
        return
    assert joined == config, "a flipped bit in gzip's own header may change nothing, but none may change the content"


def third_altered(config: PoolConfig, changes: dict[str, Any]) -> dict[int, bytes]:
    shards = numbered(split(config))
    document = {**json.loads(gzip.decompress(shards[3])), **changes}
    return {**shards, 3: gzip.compress(canonical_json(document))}


PLAIN = PoolConfig(generation=7, models={})


@pytest.mark.parametrize(("changes", "message"), [
    ({"format": 2}, "shard 3: has format 2, this version reads 1; update the pool's image"),
    ({"format": 0}, "shard 3: says to be shard 3 of format 0"),
    ({"index": 4}, "shard 3: says to be shard 4"),
    ({"models": {"n/a": {}}}, "shard 3: its Models do not have the digest"),
    ({"models": []}, "shard 3: models"),
    ({"digests": []}, "shard 3: digests"),
    ({"generation": "x"}, "shard 3: generation"),
    ({"unknown": 1}, "shard 3: unknown"),
])
def test_a_shard_that_lies_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        join(third_altered(PLAIN, changes))


def test_models_must_be_valid_and_in_one_shard() -> None:
    def shards(first: dict[str, Any], second: dict[str, Any]) -> dict[int, bytes]:
        digests = [hashlib.sha256(canonical_json(models)).hexdigest() for models in (first, second)]
        return {index: gzip.compress(canonical_json({
            "format": 1, "generation": 1, "settings": {}, "index": index, "digests": digests, "models": models}))
            for index, models in enumerate((first, second))}

    with pytest.raises(ValueError, match=r"the pool's configuration is invalid: models\.n/a\.desired: Field required"):
        join(shards({"n/a": {"namespace": "n", "name": "a"}}, {}))
    with pytest.raises(ValueError, match="shard 1: n/a is in another shard too"):
        join(shards({"n/a": {}}, {"n/a": {}}))
    third = gzip.decompress(shards({}, {})[0]).replace(b'"index":0', b'"index":2')
    with pytest.raises(ValueError, match="shard 2 is not part of a set of 2"):
        join({**shards({}, {}), 2: gzip.compress(third)})


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paddock_api.packing.MAX_UNPACKED", 1 << 20)
    with pytest.raises(ValueError, match="shard 0: is cut off, or larger than 1048576 bytes"):
        join({0: gzip.compress(b" " * (2 << 20))})


def test_nothing_there_yet_is_to_be_waited_for() -> None:
    with pytest.raises(IncompleteSet, match="is there yet"):
        join({})


def test_models_are_spread_by_a_hash_that_stays() -> None:
    assert {shard_of(f"n/{index}") for index in range(300)} == set(range(COUNT))
    assert shard_of("default/gemma") == 4, "pinned: another hash would move every Model"
    assert [file_name(0), file_name(15)] == ["shard-00.json.gz", "shard-15.json.gz"]


def realistic(index: int, rng: random.Random, template: str) -> PoolEntry:
    def revision(commit: str) -> Revision:
        spec = ModelSpec.model_validate({
            "source": {"huggingFace": {"repo": f"some-organization-{index % 97}/Model-{index}-7B-Instruct-GGUF",
                                       "quant": "Q4_K_M"}},
            "engine": {"contextLength": 8192, "cacheTokens": 32768, "parallel": 8, "chatTemplate": template},
            "defaults": {"temperature": 0.7, "topP": 0.95, "maxTokens": 1024, "systemPrompt": "You help. " * 20},
            "loading": {"policy": "Preload", "idleTimeout": "15m", "priority": index % 10},
            "aliases": [f"alias-{index}", f"gpt-{index}"], "poolRef": {"name": "default", "namespace": "paddock"}})
        digests = [rng.randbytes(32).hex() for _ in range(2)]
        places = [f"https://huggingface.co/some-organization-{index % 97}/Model-{index}/resolve/{commit}/{part}.gguf"
                  for part in (1, 2)]
        return revision_of(spec, Resolution(
            sha256=digests[0], sha256s=digests, files=places, size=10**9, commit=commit))

    return PoolEntry(namespace=f"team-{index % 40}", name=f"model-{index}", desired=revision(rng.randbytes(20).hex()),
                     last_good=revision(rng.randbytes(20).hex()), assigned=["default-runtime-0"])


def test_five_thousand_models_fit_sixteen_config_maps() -> None:
    rng = random.Random(7)
    template = "{%- for message in messages -%}<|im_start|>{{ message.role }}\n{{ message.content }}{%- endfor -%}" * 4
    entries = [realistic(index, rng, template) for index in range(5000)]
    config = PoolConfig(generation=1, models={str(entry.id): entry for entry in entries})
    shards = split(config)
    assert max(map(len, shards)) < MAX_BYTES // 2, "half of it stays for chat templates"
    assert join(numbered(shards)) == config


def test_what_does_not_fit_is_refused_with_the_models_at_fault() -> None:
    rng = random.Random(7)
    entries = [realistic(index, rng, rng.randbytes(size).hex()) for index, size in ((1, 30_000), (2, 32_000), (3, 99))]
    several = {f"n/{number}": entry.model_copy(update={"namespace": "n", "name": str(number)})
               for number, entry in enumerate(entries * 12)}
    with pytest.raises(ShardTooLarge, match="move them to another pool") as caught:
        split(PoolConfig(generation=1, models=several), 1)
    assert len(caught.value.largest) == 3
    assert all(int(name.split("/")[1]) % 3 == 1 for name in caught.value.largest)
