"""What a ModelHub does with its entries besides listing them: Models made of them, and files fetched early."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from paddock_api.behaviour import Defaults, Loading, PoolRef, Scaling, UpdatePolicy
from paddock_api.engine import Engine
from paddock_api.fields import Annotations, AsSet, DnsLabel, Labels, Spec
from paddock_api.quantity import Quantity
from paddock_api.source import Quant

# `*` stands for any characters, `?` for one.
Glob = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_./*?-]+$")]


class PrunePolicy(StrEnum):
    DELETE = "Delete"
    ORPHAN = "Orphan"


class TemplateMetadata(Spec):
    """Labels and annotations of the Models that are made."""

    labels: Annotated[Labels, Field(description="Labels of the Models.")] = Field(default_factory=dict)
    annotations: Annotated[Annotations, Field(description="Annotations of the Models.")] = Field(default_factory=dict)


class TemplateSpec(Spec):
    """The spec of the Models that are made: all but the source, which is the entry."""

    update_policy: Annotated[UpdatePolicy, Field(description=(
        "Pin: Models stay at the commit they were first resolved to. Follow: they move with the hub."))
    ] = UpdatePolicy.PIN
    engine: Annotated[Engine | None, Field(description="How the weights are run, as in a Model.")] = None
    defaults: Annotated[Defaults | None, Field(description="What a request gets when it says nothing, as in a Model.")
                        ] = None
    loading: Annotated[Loading | None, Field(description="When the Models are in memory, as in a Model.")] = None
    scaling: Annotated[Scaling | None, Field(description=(
        "In how many pods each Model may be loaded at once, as in a Model."))] = None
    pool_ref: Annotated[PoolRef | None, Field(description=(
        "The RuntimePool that runs the Models. Not set: pool default in the operator's namespace."))] = None
    revision_history_limit: Annotated[int, Field(ge=0, le=100, description=(
        "Old revisions to keep of each Model, as in a Model."))] = 10


class Template(Spec):
    """What each Model that is made looks like."""

    metadata: Annotated[TemplateMetadata, Field(description="Labels and annotations of the Models.")
                        ] = TemplateMetadata()
    spec: Annotated[TemplateSpec, Field(description=(
        "The Models' spec: all but the source, which is the entry."))] = TemplateSpec()


class Import(Spec):
    """Which entries become Models of the ModelHub's namespace, and how."""

    include: Annotated[list[Glob], Field(max_length=256, description=(
        "Entries to import, as owner/name; * stands for any characters. Not set: all entries.")), *AsSet
    ] = Field(default_factory=list)
    exclude: Annotated[list[Glob], Field(max_length=256, description=(
        "Entries to leave out, although they are included.")), *AsSet] = Field(default_factory=list)
    quants: Annotated[list[Quant], Field(max_length=16, description=(
        "One Model is made of each of these quantizations that an entry has. Not set: one Model an entry, of Q4_K_M, "
        "else Q8_0, else the first file.")), *AsSet] = Field(default_factory=list)
    name_prefix: Annotated[DnsLabel | None, Field(max_length=30, description=(
        "Put before the names of the Models, with a '-'."))] = None
    limit: Annotated[int, Field(ge=0, le=5000, description=(
        "Most Models to make, the most downloaded entries first; 0 makes none."))] = 100
    prune: Annotated[PrunePolicy, Field(description=(
        "What becomes of a Model whose entry is gone or no longer selected. Delete: it is deleted. "
        "Orphan: it stays and belongs to nobody."))] = PrunePolicy.DELETE
    template: Annotated[Template, Field(description="What each Model that is made looks like.")] = Template()


class Prefetch(Spec):
    """Files that pods of the Models' pools fetch before anybody asks."""

    updates: Annotated[bool, Field(description=(
        "Fetch new revisions of Models in use that follow this hub."))] = True
    used: Annotated[bool, Field(description=(
        "Fetch files of Models that were used lately and are missing in a pod's cache."))] = False
    disk: Annotated[Quantity | None, Field(description=(
        "Most space of each pod's cache for files that nobody asked for yet, such as 20Gi. Not set: a tenth of the "
        "cache."))] = None
