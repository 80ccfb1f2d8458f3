"""How a Model behaves towards its clients and its pool: request defaults, loading, scaling."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from paddock_api.fields import Duration, Name, Spec, Tokens


class Defaults(Spec):
    """What a request gets when it says nothing. An explicit 0 is a value, not a missing one."""

    temperature: Annotated[float | None, Field(ge=0, le=2, description=(
        "0 always picks the likeliest token."))] = None
    top_k: Annotated[int | None, Field(ge=0, le=1000, description=(
        "Sample among the k likeliest tokens; 0 is no such limit."))] = None
    top_p: Annotated[float | None, Field(ge=0, le=1, description=(
        "Sample among the likeliest tokens that together reach this probability; 1 is no such limit."))] = None
    min_p: Annotated[float | None, Field(ge=0, le=1, description=(
        "Drop tokens less likely than this share of the likeliest one; 0 is no such limit."))] = None
    repeat_penalty: Annotated[float | None, Field(gt=0, le=2, description=(
        "Divides the odds of tokens that were just used; 1 is no penalty."))] = None
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2, description=(
        "Taken once from the score of every token used so far; 0 is no penalty."))] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2, description=(
        "Taken from a token's score for each time it was used; 0 is no penalty."))] = None
    max_tokens: Annotated[Tokens | None, Field(description=(
        "Most tokens of an answer. Not set: as many as the context holds."))] = None
    seed: Annotated[int | None, Field(ge=0, le=2**32 - 1, description=(
        "Seed of the random choice; 0 is a seed like any other. Not set: a new one for each request."))] = None
    system_prompt: Annotated[str | None, Field(max_length=65536, description=(
        "System message for chats that bring none. An empty text sends none, which differs from no setting."))] = None


class LoadingPolicy(StrEnum):
    ON_DEMAND = "OnDemand"
    PRELOAD = "Preload"
    PINNED = "Pinned"


class Loading(Spec):
    """When the Model is in memory."""

    policy: Annotated[LoadingPolicy, Field(description=(
        "OnDemand: loaded by the first request. Preload: loaded early when there is room, may be evicted. Pinned: "
        "loaded and kept; never evicted, and idleTimeout does not apply."))] = LoadingPolicy.ON_DEMAND
    priority: Annotated[int, Field(ge=-1000, le=1000, description=(
        "Higher loads first and is evicted later. Waiting Models age upward, so that none starves."))] = 0
    idle_timeout: Annotated[Duration, Field(description=(
        "Time without a request after which the Model is unloaded, such as 30s, 10m or 1h30m. 0s unloads as soon as no "
        "request runs or waits (minResidency still holds). To keep a Model for ever use policy Pinned."))] = "10m"
    min_residency: Annotated[Duration, Field(description=(
        "Time after a load during which the Model is not evicted for another; 0s is none."))] = "10s"
    warmup: Annotated[list[Annotated[str, Field(min_length=1, max_length=65536)]], Field(max_length=8, description=(
        "Prompts that are prefilled after a load, so that requests which begin with them start at once."))
    ] = Field(default_factory=list)


class Scaling(Spec):
    """In how many pods the Model may be loaded at once."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!(has(self.minReplicas) && has(self.maxReplicas)) || self.minReplicas <= self.maxReplicas",
         "minReplicas must not exceed maxReplicas; lower minReplicas or raise maxReplicas"),
    )

    min_replicas: Annotated[int, Field(ge=0, le=1000, description=(
        "Pods that keep the Model loaded even without requests; 0 is none."))] = 0
    max_replicas: Annotated[int | None, Field(ge=1, le=1000, description=(
        "Most pods that load the Model at once. Not set: all pods of the pool."))] = None

    @model_validator(mode="after")
    def _ordered(self) -> Scaling:
        if self.max_replicas is not None and self.min_replicas > self.max_replicas:
            raise ValueError(f"{self.rules[0][1]} (minReplicas {self.min_replicas}, maxReplicas {self.max_replicas})")
        return self


class PoolRef(Spec):
    """The RuntimePool that runs a Model."""

    name: Annotated[Name, Field(description="Name of the RuntimePool.")]
    namespace: Annotated[Name | None, Field(description=(
        "Namespace of the RuntimePool; the pool must allow the Model's namespace. Not set: the operator's."))] = None


class UpdatePolicy(StrEnum):
    PIN = "Pin"
    FOLLOW = "Follow"
