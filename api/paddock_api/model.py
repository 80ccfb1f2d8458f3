"""The Model resource: a name that clients can ask for, and what stands behind it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from paddock_api.fields import Duration, Name, Sha256, Spec, Tokens


class FileSource(Spec):
    """A file on a volume of the pool; without `volume`, a path on this machine (standalone only)."""

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    volume: Name | None = None
    sha256: Sha256 | None = None


class HttpSource(Spec):
    url: Annotated[str, Field(pattern=r"^https?://", max_length=2048)]
    sha256: Sha256


class HuggingFaceSource(Spec):
    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$", max_length=200)]
    file: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    quant: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    revision: Annotated[str, Field(min_length=1, max_length=255)] = "main"


class HubSource(Spec):
    name: Name
    model: Annotated[str, Field(min_length=1, max_length=200)]
    quant: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class Source(Spec):
    """Where the weights come from: exactly one of the four."""

    hugging_face: HuggingFaceSource | None = None
    http: HttpSource | None = None
    file: FileSource | None = None
    hub: HubSource | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Source:
        given = [name for name in ("huggingFace", "http", "file", "hub")
                 if getattr(self, "hugging_face" if name == "huggingFace" else name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"set exactly one of huggingFace, http, file, hub (set: {', '.join(given) or 'none'})")
        return self


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
    source: Source
    scale: Annotated[float, Field(ge=-10, le=10)] = 1.0


class Engine(Spec):
    """How the weights are run. What is not set the engine chooses from the file."""

    type: Literal["llama.cpp"] = "llama.cpp"
    context_length: Tokens | None = None
    cache_tokens: Tokens | None = None
    parallel: Annotated[int, Field(ge=1, le=128)] | None = None
    gpu_layers: Annotated[int, Field(ge=-1, le=1000)] = 0
    cache_type_k: CacheType = CacheType.F16
    cache_type_v: CacheType = CacheType.F16
    sliding_window_cache: SlidingWindowCache = SlidingWindowCache.FULL
    embeddings: bool = False
    pooling: Pooling | None = None
    chat_template: Annotated[str, Field(min_length=1, max_length=65536)] | None = None
    adapters: Annotated[list[Adapter], Field(max_length=8)] = []


class Defaults(Spec):
    """What a request gets when it says nothing."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1000)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    max_tokens: Tokens | None = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    system_prompt: Annotated[str, Field(max_length=65536)] | None = None


class LoadingPolicy(StrEnum):
    ON_DEMAND = "OnDemand"
    PRELOAD = "Preload"
    PINNED = "Pinned"


class Loading(Spec):
    policy: LoadingPolicy = LoadingPolicy.ON_DEMAND
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    idle_timeout: Duration = "10m"
    min_residency: Duration = "10s"
    warmup: Annotated[list[Annotated[str, Field(max_length=65536)]], Field(max_length=8)] = []


class Scaling(Spec):
    min_replicas: Annotated[int, Field(ge=0, le=1000)] = 0
    max_replicas: Annotated[int, Field(ge=1, le=1000)] | None = None


class PoolRef(Spec):
    name: Name
    namespace: Name | None = None


class UpdatePolicy(StrEnum):
    PIN = "Pin"
    FOLLOW = "Follow"


class ModelSpec(Spec):
    source: Source
    update_policy: UpdatePolicy = UpdatePolicy.PIN
    engine: Engine = Engine()
    defaults: Defaults = Defaults()
    loading: Loading = Loading()
    scaling: Scaling = Scaling()
    aliases: Annotated[list[Name], Field(max_length=16)] = []
    pool_ref: PoolRef | None = None
    revision_history_limit: Annotated[int, Field(ge=0, le=100)] = 10
