"""A revision: one spec with one resolution, by its canonical hash.

Why the hashes are made as they are: docs/design/2026-11-revisions.md.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from paddock_api.canonical import short_hash
from paddock_api.fields import Spec
from paddock_api.model import ModelSpec

FORMAT = 1

_WEIGHTS_FIELDS = ("type", "gpu_layers")
_CONTEXT_FIELDS = ("context_length", "cache_tokens", "parallel", "cache_type_k", "cache_type_v",
                   "sliding_window_cache", "embeddings", "pooling")

# The defaults of format 1, frozen. A value equal to its default leaves no trace in load keys, so writing a default
# down reloads nothing. A field that comes later is compared with its own declared default until it is added here; a
# default that changes in a later release must keep its old value here.
FROZEN_DEFAULTS: dict[tuple[str, str], Any] = {
    ("Engine", "type"): "llama.cpp",
    ("Engine", "gpu_layers"): 0,
    ("Engine", "cache_type_k"): "F16",
    ("Engine", "cache_type_v"): "F16",
    ("Engine", "sliding_window_cache"): "Full",
    ("Engine", "embeddings"): False,
    ("Adapter", "scale"): 1.0,
    ("HuggingFaceSource", "revision"): "main",
}


class Resolution(BaseModel):
    """What a source stands for at one moment: the file by digest and size (bytes), and the places to get it from.

    Of a file in shards, `files` lists all of them in order, `size` is all bytes together, `sha256` the first one's
    digest, and `sha256s`, when they are known, the digests of all, beside `files`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str | None = None
    size: int | None = None
    commit: str | None = None
    files: list[str] = []
    sha256s: list[str] = []

    @model_validator(mode="after")
    def _digests_stand_beside_files(self) -> Resolution:
        if self.sha256s and (len(self.sha256s) != len(self.files) or self.sha256s[0] != self.sha256):
            raise ValueError("sha256s: give one digest for each of files, the first being sha256")
        return self


class Revision(BaseModel):
    """`id` is the canonical hash of all that is set; `load_key` of only what needs a reload."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    load_key: str
    spec: ModelSpec
    resolution: Resolution


def revision_of(spec: ModelSpec, resolution: Resolution) -> Revision:
    """The revision that `spec` and `resolution` make."""
    known = resolution.model_dump(mode="json", include={"sha256", "size", "commit"}, exclude_none=True)
    document = {
        "format": FORMAT,
        "spec": spec.model_dump(mode="json"),
        "resolution": {**known, **_further_digests(resolution)},
    }
    load = {"format": FORMAT, "weights": _weights(spec, resolution), "context": _context(spec)}
    return Revision(id=short_hash(document), load_key=short_hash(load), spec=spec, resolution=resolution)


def weights_key(revision: Revision) -> str:
    """Revisions that agree in this run in one child: same file, same load options."""
    return short_hash({"format": FORMAT, "weights": _weights(revision.spec, revision.resolution)})


def context_key(revision: Revision) -> str:
    """Revisions that agree in this, and in `weights_key`, can share one context."""
    return short_hash({"format": FORMAT, "context": _context(revision.spec)})


def _weights(spec: ModelSpec, resolution: Resolution) -> dict[str, Any]:
    return {"file": _file_identity(spec, resolution), **_chosen(spec.engine, _WEIGHTS_FIELDS)}


def _context(spec: ModelSpec) -> dict[str, Any]:
    context = _chosen(spec.engine, _CONTEXT_FIELDS)
    if spec.engine.adapters:
        context["adapters"] = [_chosen(adapter) for adapter in spec.engine.adapters]
    return context


def _file_identity(spec: ModelSpec, resolution: Resolution) -> dict[str, Any]:
    """The digest when it is known: then it does not matter where the file comes from."""
    if resolution.sha256 is not None:
        return {"sha256": resolution.sha256, **_further_digests(resolution)}
    source = _chosen(spec.source)
    return source if resolution.commit is None else {"source": source, "commit": resolution.commit}


def _further_digests(resolution: Resolution) -> dict[str, Any]:
    """Two files in shards may agree in the first one. Of a file in one piece `sha256` says it all."""
    return {"sha256s": resolution.sha256s} if len(resolution.sha256s) > 1 else {}


def _chosen(part: Spec, names: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The fields of `part` that differ from their frozen default, explicit or not, under their wire names."""
    fields = type(part).model_fields
    chosen: dict[str, Any] = {}
    for name in names if names is not None else fields:
        value = getattr(part, name)
        declared = fields[name].get_default(call_default_factory=True)
        default = FROZEN_DEFAULTS.get((_original_name(part, name), name), declared)
        if value is not None and value != default:
            chosen[fields[name].alias or name] = _chosen(value) if isinstance(value, Spec) else value
    return chosen


def _original_name(part: Spec, field: str) -> str:
    """The type that declared `field`: a type that extends another keeps its frozen defaults."""
    owners = [kind.__name__ for kind in type(part).__mro__ if field in getattr(kind, "__annotations__", {})]
    return owners[-1] if owners else type(part).__name__
