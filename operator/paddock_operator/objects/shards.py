"""A pool's configuration as ConfigMaps: which to write, under which generation. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from paddock_api import cluster_names as names
from paddock_api.metadata import GROUP
from paddock_api.pool import PoolConfig, config_hash
from paddock_api.runtime_pool import RuntimePool
from paddock_api.shards import COUNT, KEY, split
from paddock_operator.cluster.resources import CONFIG_MAPS, Object
from paddock_operator.objects.workload import document

ANNOTATION_GENERATION = f"{GROUP}/config-generation"


class Shards(NamedTuple):
    """`data` is the content of each ConfigMap, by index."""

    generation: int
    hash: str
    data: Sequence[bytes]


def cut(config: PoolConfig, found: Mapping[int, Object], last_generation: int) -> Shards:
    """`config` as shards. The generation is that of `found` if they hold just this (an interrupted write is finished),
    else the next one. `last_generation` is the newest known besides. Raises ShardTooLarge."""
    hash_ = config_hash(config)
    newest = max((_generation(each) for each in found.values()), default=0)
    newest = max(newest, last_generation)
    current = [index for index, each in found.items() if _generation(each) == newest]
    if current and all(_hash(found[index]) == hash_ for index in current):
        shards = split(config.model_copy(update={"generation": newest}))
        if all(_data(found[index]) == shards[index] for index in current if index < COUNT):
            return Shards(newest, hash_, shards)
    return Shards(newest + 1, hash_, split(config.model_copy(update={"generation": newest + 1})))


def by_index(pool: RuntimePool, found: Sequence[Object]) -> dict[int, Object]:
    """The pool's shards among its ConfigMaps."""
    wanted = {names.config_map(pool.metadata.name, index): index for index in range(COUNT)}
    return {wanted[name]: each for each in found if (name := each["metadata"]["name"]) in wanted}


def config_map(pool: RuntimePool, shards: Shards, index: int) -> Object:
    head = document(pool, CONFIG_MAPS, names.config_map(pool.metadata.name, index))
    head["metadata"]["annotations"] = {names.ANNOTATION_CONFIG_HASH: shards.hash,
                                       ANNOTATION_GENERATION: str(shards.generation)}
    return {**head, "binaryData": {KEY: base64.b64encode(shards.data[index]).decode()}}


def _generation(found: Object) -> int:
    text = (found["metadata"].get("annotations") or {}).get(ANNOTATION_GENERATION, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _hash(found: Object) -> str | None:
    return (found["metadata"].get("annotations") or {}).get(names.ANNOTATION_CONFIG_HASH)


def _data(found: Object) -> bytes:
    try:
        return base64.b64decode((found.get("binaryData") or {}).get(KEY, ""), validate=True)
    except ValueError:
        return b""
