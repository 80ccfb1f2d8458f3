"""The Model resource: a name that clients can ask for, and what stands behind it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from paddock_api.behaviour import Defaults, Loading, LoadingPolicy, PoolRef, Scaling, UpdatePolicy
from paddock_api.engine import Adapter, CacheType, Engine, Pooling, SlidingWindowCache
from paddock_api.fields import Alias, Name, Spec, Status
from paddock_api.identity import ModelId
from paddock_api.source import FileSource, HttpSource, HubSource, HuggingFaceSource, Source
from paddock_api.status import Condition, ConditionType, ModelStatus

__all__ = [
    "API_VERSION", "Adapter", "CacheType", "Condition", "ConditionType", "Defaults", "Engine", "FileSource",
    "HttpSource", "HubSource", "HuggingFaceSource", "Loading", "LoadingPolicy", "Metadata", "Model", "ModelSpec",
    "ModelStatus", "PoolRef", "Pooling", "Scaling", "SlidingWindowCache", "Source", "UpdatePolicy",
]

GROUP = "paddock.dev"
VERSION = "v1alpha1"
API_VERSION = "paddock.dev/v1alpha1"
# A Model's name becomes a label value and part of other objects' names.
MAX_MODEL_NAME = 63


class ModelSpec(Spec):
    """What is wanted."""

    source: Annotated[Source, Field(description=(
        "Where the weights come from: exactly one of huggingFace, http, file, hub."))]
    update_policy: Annotated[UpdatePolicy, Field(description=(
        "For a revision that can move, such as a branch. Pin: stay at the commit first resolved. Follow: move with it, "
        "by a seamless switch."))] = UpdatePolicy.PIN
    engine: Annotated[Engine, Field(description=(
        "How the weights are run. What is not set the engine chooses from the file."))] = Engine()
    defaults: Annotated[Defaults, Field(description=(
        "What a request gets when it says nothing. An explicit 0 is a value, not a missing one."))] = Defaults()
    loading: Annotated[Loading, Field(description="When the Model is in memory.")] = Loading()
    scaling: Annotated[Scaling, Field(description=(
        "In how many pods the Model may be loaded at once."))] = Scaling()
    aliases: Annotated[list[Alias], Field(max_length=16, description=(
        "Further names that clients may use, such as gpt-4o-mini or llama3:8b. A Model's own name beats another's "
        "alias in the same namespace; an alias that two Models claim is refused as ambiguous."),
        json_schema_extra={"x-kubernetes-list-type": "set"})] = Field(default_factory=list)
    pool_ref: Annotated[PoolRef | None, Field(description=(
        "The RuntimePool that runs the Model. Not set: pool default in the operator's namespace."))] = None
    revision_history_limit: Annotated[int, Field(ge=0, le=100, description=(
        "Old revisions to keep for a rollback; 0 keeps none but the ones in use."))] = 10

    @model_validator(mode="after")
    def _aliases_differ(self) -> ModelSpec:
        twice = sorted({alias for alias in self.aliases if self.aliases.count(alias) > 1})
        if twice:
            raise ValueError(f"aliases: {', '.join(twice)} is listed twice; remove one")
        return self


class Metadata(Status):
    """The part of Kubernetes' object metadata that Paddock reads; the rest is let go by."""

    name: Annotated[Name, Field(max_length=MAX_MODEL_NAME)]
    namespace: Annotated[Name, Field(max_length=63)] = "default"
    uid: str | None = None
    generation: int | None = None
    resource_version: str | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)


class Model(Spec):
    """A model that clients can ask for by name. It is loaded by the first request and unloaded when idle."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("self.metadata.name.size() <= 63", "metadata.name: at most 63 characters; it becomes a label"),
    )

    api_version: Literal["paddock.dev/v1alpha1"] = "paddock.dev/v1alpha1"
    kind: Literal["Model"] = "Model"
    metadata: Metadata
    spec: Annotated[ModelSpec, Field(description="What is wanted.")]
    status: Annotated[ModelStatus | None, Field(description="What is known; written by the operator.")] = None

    @property
    def id(self) -> ModelId:
        return ModelId(self.metadata.namespace, self.metadata.name)
