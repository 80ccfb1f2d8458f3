"""A request inside the engine, from its arrival to its last token."""

from __future__ import annotations

from dataclasses import dataclass, field

from paddock_runtime.engine.llama.holdings import Holding
from paddock_runtime.engine.llama.sampling import Sampler
from paddock_runtime.engine.llama.text import TextStream


@dataclass(eq=False, kw_only=True)
class Sequence:
    """`tokens` starts as the prompt and grows; `holding` is its place in the cache while it is live.

    A preempted sequence loses its holding and goes on later from its tokens: nobody outside notices.
    """

    id: int
    arrival: int = 0
    salt: str
    shared: str = ""
    background: bool = False
    tokens: list[int]
    most: int
    sampler: Sampler
    text: TextStream
    logprobs: int | None = None
    scored: bool = False  # it asks for the logits after its prompt, not for tokens
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated: int = 0
    unsent: int = 0
    started: bool = False
    paused: bool = False
    looked: bool = False  # for its beginning on disk
    holding: Holding | None = None
    waits_for: Holding | None = None
    waits_until: int = 0
    stops: set[int] = field(default_factory=set)  # positions whose state must be kept
    awaited: set[int] = field(default_factory=set)  # positions from which others will go on

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.tokens)

    @property
    def salts(self) -> tuple[str, ...]:
        return (self.salt, self.shared) if self.shared not in ("", self.salt) else (self.salt,)

    @property
    def pending(self) -> int:
        """Tokens without cells."""
        return len(self.tokens) - (self.holding.computed if self.holding else 0)

    @property
    def blocked(self) -> bool:
        """Whether somebody is still computing the prefix that this one waits for."""
        holder = self.waits_for
        return holder is not None and holder.live and holder.computed < self.waits_until

    def next_stop(self) -> int | None:
        """Tokens until the next position where a step must end."""
        if not self.stops and not self.awaited:
            return None
        assert self.holding is not None
        computed = self.holding.computed
        ahead = [stop - computed for stop in self.stops | self.awaited if stop > computed]
        return min(ahead) if ahead else None
