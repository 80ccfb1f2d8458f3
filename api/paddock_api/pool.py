"""A pool's configuration, as the operator (or `paddock serve`) hands it to a runtime, and what changed between two."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, model_validator

from paddock_api.canonical import short_hash
from paddock_api.identity import ModelId
from paddock_api.revision import Revision


class PoolEntry(BaseModel):
    """One Model: the revision wanted, the last one proven good, and the pods it is assigned to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: str
    name: str
    desired: Revision
    last_good: Revision | None = None
    assigned: list[str] = []

    @property
    def id(self) -> ModelId:
        return ModelId(self.namespace, self.name)


class PoolConfig(BaseModel):
    """Keyed by `namespace/name`. `base_dir` of a local entry's relative paths lives with the source, not here.

    `settings` hold for the whole pool and change without a restart; a pod lets go by what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    generation: int
    models: dict[str, PoolEntry]
    settings: dict[str, Any] = {}

    @model_validator(mode="after")
    def _keys_are_ids(self) -> PoolConfig:
        wrong = [key for key, entry in self.models.items() if key != str(entry.id)]
        if wrong:
            raise ValueError(f"models: the key {wrong[0]!r} does not name its entry {self.models[wrong[0]].id}")
        return self


class Change(NamedTuple):
    """How one Model's entry differs. `reload`: the desired revision needs other weights or another context."""

    model: ModelId
    old: PoolEntry
    new: PoolEntry
    revision: bool
    reload: bool
    places: bool
    last_good: bool
    assigned: bool


class PoolDiff(NamedTuple):
    """Everything in order of namespace and name."""

    added: list[PoolEntry]
    removed: list[PoolEntry]
    changed: list[Change]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def config_hash(config: PoolConfig) -> str:
    """The content's hash: revisions, places, assignments and settings, not the generation. `/state` reports both."""
    models = {key: {"desired": _content(entry.desired),
                    "lastGood": _content(entry.last_good) if entry.last_good is not None else None,
                    "assigned": sorted(set(entry.assigned))}
              for key, entry in config.models.items()}
    settings = {"settings": config.settings} if config.settings else {}
    return short_hash({"format": 1, "models": models, **settings})


def diff(old: PoolConfig | None, new: PoolConfig) -> PoolDiff:
    """What `new` asks for that `old` did not. Without `old` everything is added."""
    before = old.models if old is not None else {}
    changes = [_change(before[key], new.models[key]) for key in sorted(before.keys() & new.models.keys())]
    return PoolDiff(
        added=[new.models[key] for key in sorted(new.models.keys() - before.keys())],
        removed=[before[key] for key in sorted(before.keys() - new.models.keys())],
        changed=[change for change in changes if any(change[3:])],
    )


def assigned_to(config: PoolConfig, pod: str) -> list[ModelId]:
    """The Models that `pod` must keep loaded, in order."""
    return sorted(entry.id for entry in config.models.values() if pod in entry.assigned)


def _change(old: PoolEntry, new: PoolEntry) -> Change:
    return Change(
        model=new.id, old=old, new=new,
        revision=old.desired.id != new.desired.id,
        reload=old.desired.load_key != new.desired.load_key,
        places=old.desired.resolution.files != new.desired.resolution.files,
        last_good=_id(old.last_good) != _id(new.last_good),
        assigned=set(old.assigned) != set(new.assigned),
    )


def _content(revision: Revision) -> dict[str, object]:
    resolution = revision.resolution
    digests = {"sha256s": resolution.sha256s} if resolution.sha256s else {}
    return {"id": revision.id, "loadKey": revision.load_key, "files": resolution.files, **digests}


def _id(revision: Revision | None) -> str | None:
    return revision.id if revision is not None else None
