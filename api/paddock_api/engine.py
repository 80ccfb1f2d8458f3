"""How a Model's weights are run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from paddock_api.fields import Spec, Tokens
from paddock_api.source import Source


class CacheType(StrEnum):
    F32 = "F32"
    F16 = "F16"
    BF16 = "BF16"
    Q8_0 = "Q8_0"


class Pooling(StrEnum):
    NONE = "None"
    MEAN = "Mean"
    CLS = "CLS"
    LAST = "Last"
    RANK = "Rank"


class SlidingWindowCache(StrEnum):
    FULL = "Full"
    WINDOW = "Window"


class Adapter(Spec):
    """A LoRA adapter that is applied to the whole context of this Model."""

    source: Annotated[Source, Field(description="Where the adapter's GGUF file comes from: exactly one of the four.")]
    scale: Annotated[float, Field(ge=-10, le=10, description=(
        "Strength of the adapter; 0 loads it without effect."))] = 1.0


class Engine(Spec):
    """How the weights are run. What is not set the engine chooses from the file."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!(has(self.contextLength) && has(self.cacheTokens)) || self.contextLength <= self.cacheTokens",
         "contextLength must not exceed cacheTokens, or no such request fits; lower one or raise the other"),
    )

    type: Annotated[Literal["llama.cpp"], Field(description="The inference engine.")] = "llama.cpp"
    context_length: Annotated[Tokens | None, Field(description=(
        "Most tokens that one request may hold, prompt and answer together. Not set: the length the model was trained "
        "for, at most 8192 (embeddings: 2048) and at most cacheTokens. Changing it needs a reload."))] = None
    cache_tokens: Annotated[Tokens | None, Field(description=(
        "Size of the KV cache in tokens, shared by all requests that run at once; this is what memory is charged for. "
        "Not set: twice contextLength. Changing it needs a reload."))] = None
    parallel: Annotated[int | None, Field(ge=1, le=128, description=(
        "Most requests that are computed together; further ones wait. Not set: 16, or 4 for recurrent and hybrid "
        "models, whose every place costs a whole state. Changing it needs a reload."))] = None
    gpu_layers: Annotated[int, Field(ge=-1, le=1000, description=(
        "Number of layers to keep on the GPU: 0 is none, -1 is all."))] = 0
    cache_type_k: Annotated[CacheType, Field(description=(
        "Number format of the cached keys. Q8_0 halves their memory."))] = CacheType.F16
    cache_type_v: Annotated[CacheType, Field(description=(
        "Number format of the cached values. Q8_0 halves their memory."))] = CacheType.F16
    sliding_window_cache: Annotated[SlidingWindowCache, Field(description=(
        "For models with sliding-window attention. Full keeps every position, so that prefixes can be shared freely; "
        "Window keeps only the window and needs less memory."))] = SlidingWindowCache.FULL
    embeddings: Annotated[bool, Field(description=(
        "Serve embeddings instead of text from a generative model. Encoder models (BERT and its kin) always do."))
    ] = False
    pooling: Annotated[Pooling | None, Field(description=(
        "How token vectors become one embedding. Not set: what the file says."))] = None
    chat_template: Annotated[str, Field(min_length=1, max_length=65536, description=(
        "Jinja template of chat prompts, in place of the one in the file. It is rendered in a sandbox, under limits. "
        "Changing it needs no reload."))] | None = None
    adapters: Annotated[list[Adapter], Field(max_length=8, description=(
        "LoRA adapters, applied together. A Model with adapters has a context of its own."))
    ] = Field(default_factory=list)

    @model_validator(mode="after")
    def _request_fits_the_cache(self) -> Engine:
        if self.context_length is not None and self.cache_tokens is not None \
                and self.context_length > self.cache_tokens:
            given = f"contextLength {self.context_length}, cacheTokens {self.cache_tokens}"
            raise ValueError(f"{self.rules[0][1]} ({given})")
        return self
