"""A pool's configuration in a fixed number of pieces, each small enough for a ConfigMap, that are taken whole or not.

A shard is gzip of canonical JSON {format, generation, settings, index, digests, models}. `digests` holds the sha256 of
every shard's models as canonical JSON, so any one shard says what the complete set is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paddock_api.canonical import canonical_json
from paddock_api.packing import pack, unpack
from paddock_api.pool import PoolConfig

FORMAT = 1
COUNT = 16
KEY = "shard.json.gz"
# The API server takes 1 MiB of data in a ConfigMap.
MAX_BYTES = 1 << 20


class IncompleteSet(Exception):
    """Shards are missing, or come from different configurations. It passes: wait for the next change.

    `missing` lists the indexes that lack, as far as they are known."""

    def __init__(self, message: str, missing: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.missing = missing


class ShardTooLarge(ValueError):
    """A shard would not fit a ConfigMap. `largest` names its Models, the largest first."""

    def __init__(self, index: int, size: int, largest: tuple[str, ...]) -> None:
        super().__init__(
            f"shard {index} of the pool's configuration has {size} bytes, {MAX_BYTES} fit a ConfigMap; make the "
            f"largest Models of it smaller or move them to another pool: {', '.join(largest)}")
        self.largest = largest


class _Shard(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    generation: int
    settings: dict[str, Any]
    index: int
    digests: list[str] = Field(min_length=1)
    models: dict[str, dict[str, Any]]


def file_name(index: int) -> str:
    """The file of one shard in the pod's configuration directory."""
    return f"shard-{index:02d}.json.gz"


def shard_of(model: str, count: int = COUNT) -> int:
    """The shard that holds the Model `namespace/name`. It depends on nothing else, so a change touches few shards."""
    return int.from_bytes(hashlib.sha256(model.encode()).digest()[:8]) % count


def split(config: PoolConfig, count: int = COUNT) -> list[bytes]:
    """`config` as exactly `count` shards; equal content gives equal bytes. Raises ShardTooLarge."""
    parts: list[dict[str, bytes]] = [{} for _ in range(count)]
    for key, entry in config.models.items():
        parts[shard_of(key, count)][key] = canonical_json(entry.model_dump(mode="json"))
    models = [_object(part) for part in parts]
    head = {"format": FORMAT, "generation": config.generation, "settings": config.settings,
            "digests": [hashlib.sha256(part).hexdigest() for part in models]}
    shards = [_packed({**head, "index": index}, part) for index, part in enumerate(models)]
    for index, shard in enumerate(shards):
        if len(shard) > MAX_BYTES:
            by_size = sorted(parts[index], key=lambda key: -len(parts[index][key]))
            raise ShardTooLarge(index, len(shard), tuple(by_size[:3]))
    return shards


def _object(values: Mapping[str, bytes]) -> bytes:
    """The canonical JSON object of values that are canonical JSON already: each is written out once."""
    return b"{" + b",".join(canonical_json(key) + b":" + values[key] for key in sorted(values)) + b"}"


def _packed(head: Mapping[str, Any], models: bytes) -> bytes:
    values = {key: canonical_json(value) for key, value in head.items()}
    return pack(_object({**values, "models": models}))


def join(shards: Mapping[int, bytes]) -> PoolConfig:
    """The configuration in a complete set of shards, by index.

    Raises IncompleteSet for missing or mixed shards, ValueError for what no waiting can mend."""
    if not shards:
        raise IncompleteSet("no shard of the pool's configuration is there yet")
    read = {index: _read(index, data) for index, data in sorted(shards.items())}
    _check_whole(read)
    models: dict[str, Any] = {}
    for shard in read.values():
        twice = models.keys() & shard.models.keys()
        if twice:
            raise ValueError(f"shard {shard.index}: {min(twice)} is in another shard too")
        models |= shard.models
    first = next(iter(read.values()))
    try:
        return PoolConfig(generation=first.generation, settings=first.settings, models=models)
    except ValidationError as error:
        raise ValueError(f"the pool's configuration is invalid: {_first_problem(error)}") from None


def _check_whole(read: Mapping[int, _Shard]) -> None:
    generations = sorted({shard.generation for shard in read.values()})
    if len(generations) > 1:
        raise IncompleteSet(f"shards of the generations {', '.join(map(str, generations))} lie side by side")
    first = next(iter(read.values()))
    if any((shard.digests, shard.settings) != (first.digests, first.settings) for shard in read.values()):
        raise IncompleteSet(f"shards of two different configurations of generation {first.generation} lie side by side")
    missing = tuple(index for index in range(len(first.digests)) if index not in read)
    if missing:
        raise IncompleteSet(f"of generation {first.generation} the shards {', '.join(map(str, missing))} are missing",
                            missing)
    strange = [index for index in read if index >= len(first.digests)]
    if strange:
        raise ValueError(f"shard {strange[0]} is not part of a set of {len(first.digests)}")


def _read(index: int, data: bytes) -> _Shard:
    try:
        document = json.loads(unpack(data))
        if isinstance(document, dict) and isinstance(document.get("format"), int) and document["format"] > FORMAT:
            raise ValueError(f"has format {document['format']}, this version reads {FORMAT}; update the pool's image")
        shard = _Shard.model_validate(document)
    except ValidationError as error:
        raise ValueError(f"shard {index}: {_first_problem(error)}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"shard {index}: {error}") from None
    if shard.format != FORMAT or shard.index != index:
        raise ValueError(f"shard {index}: says to be shard {shard.index} of format {shard.format}")
    if index < len(shard.digests) and _digest(shard.models) != shard.digests[index]:
        raise ValueError(f"shard {index}: its Models do not have the digest that it names")
    return shard


def _digest(models: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(models)).hexdigest()


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
