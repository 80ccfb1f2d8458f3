"""What the operator says of a ModelHub."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from paddock_api.fields import Status
from paddock_api.status import ByteCount, Conditions, Count, Handled, Time


class HubConditionType(StrEnum):
    READY = "Ready"  # the catalog is there and no older than its interval allows
    STALE = "Stale"  # the hub can't be reached or refuses: the catalog is served on, as it was
    IMPORTED = "Imported"  # the Models that spec.import asks for exist


class SyncNumbers(Status):
    """What the last sync took and found."""

    kind: Annotated[Literal["Probe", "Audit"] | None, Field(description=(
        "Probe: the cheapest look at whether anything changed. Audit: one that also finds deletions and branches."))
    ] = None
    finished_time: Annotated[Time | None, Field(description="When it ended.")] = None
    duration_seconds: Annotated[float | None, Field(ge=0, description="How long it took.")] = None
    requests: Annotated[Count, Field(description="Requests to the hub.")] = 0
    bytes: Annotated[ByteCount, Field(description="Bytes received.")] = 0
    not_modified: Annotated[Count, Field(description="Answers that said: not modified.")] = 0
    added: Annotated[Count, Field(description="Entries that are new.")] = 0
    changed: Annotated[Count, Field(description="Entries that changed.")] = 0
    removed: Annotated[Count, Field(description="Entries that are gone.")] = 0


class CatalogStatus(Status):
    """The catalog as it is served."""

    entries: Annotated[Count, Field(description="Entries: repositories with GGUF files.")] = 0
    files: Annotated[Count, Field(description="GGUF files of all entries.")] = 0
    gated: Annotated[Count, Field(description="Entries whose files need a credential.")] = 0
    tombstones: Annotated[Count, Field(description="Entries that were deleted on the hub.")] = 0
    digest: Annotated[str | None, Field(max_length=64, description="Digest of the catalog.")] = None


class ImportStatus(Status):
    """Models made of entries."""

    models: Annotated[Count, Field(description="Models that exist.")] = 0
    created: Annotated[Count, Field(description="Models that the last sync made.")] = 0
    pruned: Annotated[Count, Field(description="Models that the last sync deleted or let go.")] = 0


class ModelHubStatus(Status):
    """What is known of the hub."""

    observed_generation: Annotated[Count | None, Field(description=(
        "metadata.generation that this status speaks of."))] = None
    conditions: Annotated[Conditions, Field(description=(
        "Ready: the catalog is there and in step. Stale: the hub can't be reached, and the catalog is served as it "
        "was. Imported: the Models of spec.import exist."))] = Field(default_factory=list)
    last_handled_reconcile_at: Annotated[Handled | None, Field(description=(
        "The value of the annotation paddock.dev/reconcile-requested-at that was last obeyed."))] = None
    last_sync_time: Annotated[Time | None, Field(description="When the catalog was last known to be in step.")] = None
    last_audit_time: Annotated[Time | None, Field(description="When the last audit ended well.")] = None
    next_sync_time: Annotated[Time | None, Field(description="When the next sync is due.")] = None
    stale_since: Annotated[Time | None, Field(description="Since when the hub could not be asked.")] = None
    last_sync: Annotated[SyncNumbers | None, Field(description="What the last sync took and found.")] = None
    catalog: Annotated[CatalogStatus | None, Field(description="The catalog as it is served.")] = None
    imported: Annotated[ImportStatus | None, Field(description="Models made of entries.")] = None
