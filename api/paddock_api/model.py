"""The Model resource: a name that clients can ask for, and what stands behind it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from paddock_api.behaviour import Defaults, Loading, LoadingPolicy, PoolRef, Scaling, UpdatePolicy
from paddock_api.engine import Adapter, CacheType, Engine, Pooling, SlidingWindowCache
from paddock_api.fields import Alias, AsSet, Spec
from paddock_api.identity import ModelId
from paddock_api.metadata import API_VERSION, GROUP, LABEL_RULE, VERSION, Metadata
from paddock_api.source import FileSource, HttpSource, HubSource, HuggingFaceSource, Source
from paddock_api.status import Condition, ConditionType, ModelStatus
from paddock_api.verify import MAX_CHECKS, Check

__all__ = [
    "API_VERSION",
    "GROUP",
    "VERSION",
    "Adapter",
    "CacheType",
    "Condition",
    "ConditionType",
    "Defaults",
    "Engine",
    "FileSource",
    "HttpSource",
    "HubSource",
    "HuggingFaceSource",
    "Loading",
    "LoadingPolicy",
    "Metadata",
    "Model",
    "ModelSpec",
    "ModelStatus",
    "PoolRef",
    "Pooling",
    "Scaling",
    "SlidingWindowCache",
    "Source",
    "UpdatePolicy",
]


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
    verify: Annotated[list[Check], Field(max_length=MAX_CHECKS, description=(
        "What a revision must get right before any request goes to it. One that fails is not served: the revision "
        "before goes on, and Degraded says which check failed and what came instead. Changing it needs no reload."))
    ] = Field(default_factory=list)
    scaling: Annotated[Scaling, Field(description=(
        "In how many pods the Model may be loaded at once."))] = Scaling()
    aliases: Annotated[list[Alias], Field(max_length=16, description=(
        "Further names that clients may use, such as gpt-4o-mini or llama3:8b. A Model's own name beats another's "
        "alias in the same namespace; an alias that two Models claim is refused as ambiguous.")), *AsSet
    ] = Field(default_factory=list)
    pool_ref: Annotated[PoolRef | None, Field(description=(
        "The RuntimePool that runs the Model. Not set: pool default in the operator's namespace."))] = None
    revision_history_limit: Annotated[int, Field(ge=0, le=100, description=(
        "Old revisions to keep for a rollback; 0 keeps none but the ones in use."))] = 10


class Model(Spec):
    """A model that clients can ask for by name. It is loaded by the first request and unloaded when idle."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (LABEL_RULE,)

    api_version: Literal["paddock.dev/v1alpha1"] = "paddock.dev/v1alpha1"
    kind: Literal["Model"] = "Model"
    metadata: Metadata
    spec: Annotated[ModelSpec, Field(description="What is wanted.")]
    status: Annotated[ModelStatus | None, Field(description="What is known; written by the operator.")] = None

    @property
    def id(self) -> ModelId:
        return ModelId(self.metadata.namespace, self.metadata.name)
