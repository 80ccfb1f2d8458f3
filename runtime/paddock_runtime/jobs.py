"""What the HTTP server asks of the lifecycle: one job in, a stream of outputs out.

The server knows OpenAI's wire format; the lifecycle knows loading, budgets, crashes and strikes. They share only this.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from msgspec.structs import replace

from paddock_api.identity import ModelId
from paddock_api.revision import Revision
from paddock_api.state import Phase, PodState
from paddock_runtime.engine.protocol import Delta, ModelFacts, Sampling

_SEEDS = 2**32 - 1  # the engine takes the next number for "any"


@dataclass(frozen=True, kw_only=True)
class Served:
    """The revision that answers, and what its loaded engine says of itself."""

    model: ModelId
    revision: Revision
    facts: ModelFacts
    context_length: int


@dataclass(frozen=True, kw_only=True)
class GenerateWork:
    """`choices` sequences of one prompt."""

    prompt: str | list[int]
    choices: int = 1
    max_tokens: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    stop: list[str] = field(default_factory=list)
    logprobs: int | None = None
    grammar: str | None = None
    json_schema: str | None = None

    def sampling_of(self, choice: int) -> Sampling:
        """With one seed for all, the choices would be copies of each other: choice k draws from seed + k."""
        seed = self.sampling.seed
        return self.sampling if seed is None or choice == 0 else replace(self.sampling, seed=(seed + choice) % _SEEDS)


@dataclass(frozen=True, kw_only=True)
class EmbedWork:
    inputs: list[str | list[int]]


Work = GenerateWork | EmbedWork


@dataclass(frozen=True, kw_only=True)
class Job:
    """`prepare` makes the engine's work once the Model is loaded (it may need the file's chat template);
    it may raise PaddockError. `deadline` is monotonic seconds, for everything; `hold_until` for the wait to be loaded.
    `fingerprint` names the request's content, for strikes. `tenant` salts prefix sharing.
    """

    model: ModelId
    request_id: str
    tenant: str
    fingerprint: str
    hold_until: float
    deadline: float
    prepare: Callable[[Served], Awaitable[Work]]


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """The Model is on its way: sent when the phase or its progress changes."""

    phase: Phase
    progress: float | None = None


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The engine has the job; one per choice. `revision` is what serves it."""

    choice: int
    served: Served
    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True, kw_only=True)
class Text:
    choice: int
    delta: Delta


@dataclass(frozen=True, kw_only=True)
class Vectors:
    served: Served
    vectors: list[bytes]
    dimensions: int
    tokens: int


Output = Waiting | Accepted | Text | Vectors


class Stream(Protocol):
    """Outputs of one job, in order. Iteration raises PaddockError on any failure.

    `aclose` (also by cancellation of the consumer) cancels the job in the engine within one step.
    The consumer's pace is the flow control: outputs not yet taken are bounded (64 KiB of text), then the engine
    is told to pause this job; a consumer that takes nothing for 30 s gets CLIENT_STALLED.
    """

    def __aiter__(self) -> AsyncIterator[Output]: ...

    @property
    def ready(self) -> bool:
        """Whether the next output, or the end, is there already."""
        ...

    async def aclose(self) -> None: ...


class Service(Protocol):
    """The lifecycle, as the HTTP server sees it."""

    def resolve(self, name: str) -> ModelId:
        """The Model that a client's `model` names: alias, bare name, or namespace/name.

        Raises PaddockError MODEL_NOT_FOUND or AMBIGUOUS_MODEL."""
        ...

    def submit(self, job: Job) -> Stream: ...

    def state(self) -> PodState: ...

    @property
    def leaving(self) -> bool:
        """Whether the pod is about to end."""
        ...

    @property
    def generation(self) -> int:
        """Of the configuration in force; 0 before the first."""
        ...

    async def load(self, model: ModelId) -> None:
        """Load now; returns when asked, not when done."""
        ...

    async def unload(self, model: ModelId) -> None: ...

    async def prefetch(self, model: ModelId) -> None: ...
