"""The ModelHub resource: a catalog of models that is kept in step with a hub."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from paddock_api.fields import AsSet, DnsLabel, Duration, Spec, Url, parse_duration
from paddock_api.hub_import import Import, Prefetch
from paddock_api.hub_status import ModelHubStatus
from paddock_api.metadata import LABEL_RULE, Metadata
from paddock_api.pool_storage import DEFAULT_ENDPOINT
from paddock_api.source import Quant

Repository = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", max_length=200)]
MIN_INTERVAL = 60.0


class ModelHubSpec(Spec):
    """What is wanted."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("[has(self.author), has(self.collection), has(self.search), has(self.repos)].filter(given, given).size() == 1",
         "set exactly one of author, collection, search, repos"),
        ("!has(self.interval) || duration(self.interval) >= duration('1m')",
         "interval: give at least 1m; the annotation paddock.dev/reconcile-requested-at asks for a sync at once"),
        ("!has(self.timeout) || duration(self.timeout) > duration('0s')", "timeout: give more than 0s, such as 2m"),
        ("!has(self.endpoint) || !self.endpoint.matches('^https?://[^/?#]*@')",
         "endpoint: remove the user name and password; name a credential instead"),
    )

    endpoint: Annotated[Url, Field(description=(
        "Address of the hub: Hugging Face or one that speaks its API."))] = DEFAULT_ENDPOINT
    credential: Annotated[DnsLabel | None, Field(max_length=50, description=(
        "Name of one of the spec.credentials of the RuntimePool that imported Models use "
        "(import.template.spec.poolRef, else the default one), for private and gated repositories. Not set: the hub is "
        "asked without a token."))] = None
    author: Annotated[str | None, Field(min_length=1, max_length=96, pattern=r"^[A-Za-z0-9_.-]+$", description=(
        "All repositories with GGUF files of this user or organization."))] = None
    collection: Annotated[str | None, Field(
        min_length=3, max_length=300, pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", description=(
            "All repositories with GGUF files of this collection, as owner/slug."))] = None
    search: Annotated[str | None, Field(min_length=1, max_length=200, description=(
        "All repositories with GGUF files that the hub's search finds for this text."))] = None
    repos: Annotated[list[Repository] | None, Field(min_length=1, max_length=1000, description=(
        "These repositories, each as owner/name.")), *AsSet] = None
    limit: Annotated[int, Field(ge=1, le=10000, description=(
        "Most entries of the catalog, the most downloaded first."))] = 1000
    quants: Annotated[list[Quant], Field(max_length=64, description=(
        "Quantizations to list, such as Q4_K_M. Not set: all.")), *AsSet] = Field(default_factory=list)
    interval: Annotated[Duration, Field(description=(
        "Time from one sync to the next, such as 30m or 6h; each is moved a little, so that hubs don't sync in step."))
    ] = "1h"
    audit_every: Annotated[int, Field(ge=1, le=1000, description=(
        "Every Nth sync is an audit, which also finds deletions and changed branches; 1 makes every sync one."))] = 24
    timeout: Annotated[Duration, Field(description="Most time for one sync.")] = "2m"
    suspend: Annotated[bool, Field(description=(
        "No syncs for now; the catalog stays as it is, and so do imported Models."))] = False
    import_: Annotated[Import | None, Field(alias="import", description=(
        "Which entries become Models of the ModelHub's namespace, and how. Not set: none."))] = None
    prefetch: Annotated[Prefetch | None, Field(description=(
        "Files that pods of the Models' pools fetch before anybody asks. Not set: none."))] = None

    @model_validator(mode="after")
    def _as_the_rules_say(self) -> ModelHubSpec:
        given = [part for part in (self.author, self.collection, self.search, self.repos) if part is not None]
        authority = self.endpoint.split("://", 1)[1].split("/", 1)[0].split("?", 1)[0].split("#", 1)[0]
        broken = (
            len(given) != 1,
            parse_duration(self.interval) < MIN_INTERVAL,
            parse_duration(self.timeout) <= 0,
            "@" in authority,
        )
        for wrong, (_, message) in zip(broken, self.rules, strict=True):
            if wrong:
                raise ValueError(message)
        return self


class ModelHub(Spec):
    """A catalog of models that is kept in step with a hub, and served on while the hub is away."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (LABEL_RULE,)

    api_version: Literal["paddock.dev/v1alpha1"] = "paddock.dev/v1alpha1"
    kind: Literal["ModelHub"] = "ModelHub"
    metadata: Metadata
    spec: Annotated[ModelHubSpec, Field(description="What is wanted.")]
    status: Annotated[ModelHubStatus | None, Field(description="What is known; written by the operator.")] = None
