"""A pool's configuration, as the operator (or `paddock serve`) hands it to a runtime."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from paddock_api.revision import Revision


class PoolEntry(BaseModel):
    """One Model: the revision wanted, the last one proven good, and the pods it is assigned to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: str
    name: str
    desired: Revision
    last_good: Revision | None = None
    assigned: list[str] = []


class PoolConfig(BaseModel):
    """Keyed by `namespace/name`. `base_dir` of a local entry's relative paths lives with the source, not here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    generation: int
    models: dict[str, PoolEntry]
