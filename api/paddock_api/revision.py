"""A revision: one spec with one resolution, by its canonical hash."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from paddock_api.model import ModelSpec


class Resolution(BaseModel):
    """What a source stands for at one moment: the file by digest, size and place."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str | None = None
    size: int | None = None
    commit: str | None = None
    files: list[str] = []


class Revision(BaseModel):
    """`id` is the canonical hash of all that is set; `load_key` of only what needs a reload."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    load_key: str
    spec: ModelSpec
    resolution: Resolution
