"""Who holds which cells of a context: live sequences, idle prefixes, checkpoints.

The bookkeeping is exact for full attention: a segment is a run of cells computed once, shared by every
holding that was forked over it. The context itself is reached through `SequenceMemory` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from paddock_runtime.engine.llama.prefix import PrefixTree

T = TypeVar("T")


class SequenceMemory(Protocol):
    """What holdings need of a context."""

    def copy_sequence(self, source: int, target: int, end: int) -> None: ...
    def drop_sequence(self, sequence: int) -> None: ...
    def keeps_window(self, sequence: int, position: int) -> bool: ...


# Sharing fewer tokens than this (a BOS, a role's header) saves nothing and would make idle prefixes look used.
LEAST_SHARED = 8
# Of the cells, 1 / this are parked at most: attention looks over them, so they must stay few beside what is in use.
_PARKED_SHARE = 12


@dataclass(eq=False)
class _Segment:
    """Cells of positions [start, end), and the holdings that share them."""

    start: int
    end: int
    owners: set[Holding] = field(default_factory=set)


@dataclass(eq=False)
class Holding:
    """One llama.cpp sequence id in use. `tokens` is what it will hold, `computed` how much of that has cells.

    `live` ones belong to a request; the others are prefixes kept for later, and go when room is needed. `shared` is the
    salt of the Model that `salt` belongs to; `mark` the position from which the next turn of a chat would go on.
    """

    sequence: int
    salt: str
    tokens: list[int]
    live: bool
    computed: int = 0
    last_used: int = 0
    shared: str = ""
    mark: int = 0
    segments: list[_Segment] = field(default_factory=list)


@dataclass(frozen=True)
class Match:
    """`ready`: tokens that can be taken over from `source` now. `coming`: tokens that `holder` will have soon."""

    ready: int = 0
    source: Holding | None = None
    coming: int = 0
    holder: Holding | None = None


class Holdings:
    """`capacity` in cells, `sequences` in ids. With `anywhere` a fork may happen at any computed position (full
    attention); without it only where a holding ends exactly (recurrent state can't be rolled back).

    Cells that nobody holds any more are parked under one id of their own, and given back many at a time. Were each
    given back at once, they would lie one by one between those of others (sequences that generate together take turns),
    and llama.cpp fills such holes first: cells of a prompt that lie scattered cost its attention twice and more. What
    goes in order of use was mostly computed in that order, so what is given back together lies together. (Recurrent
    states have no cells to lie in.)
    """

    def __init__(self, memory: SequenceMemory, *, capacity: int, sequences: int, anywhere: bool) -> None:
        self._memory = memory
        self.capacity = capacity
        self.anywhere = anywhere
        self._parking = sequences - 1 if anywhere else None
        self._most_parked = capacity // _PARKED_SHARE
        # Every step looks over all cells in use: half of the ids are enough. (Recurrent states cost a step nothing.)
        self._most_idle = sequences // 2 if anywhere else sequences
        self.parked = 0
        self.used = 0
        self.evictions = 0
        self._tree: PrefixTree[Holding] = PrefixTree()
        self._free = [sequence for sequence in range(sequences - 1, -1, -1) if sequence != self._parking]
        self._idle: dict[Holding, None] = {}
        self._clock = 0

    # --- looking ------------------------------------------------------------------------------

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def idle_holdings(self) -> Iterable[Holding]:
        return self._idle.keys()

    @property
    def free(self) -> int:
        return self.capacity - self.used

    def reclaimable(self, spare: Holding | None = None) -> int:
        """Cells that evicting every idle holding (but `spare`) would free."""
        going = {holding for holding in self._idle if holding is not spare}
        segments = {segment for holding in going for segment in holding.segments}
        return sum(segment.end - segment.start for segment in segments if segment.owners <= going)

    def match(self, salt: str, tokens: Sequence[int], *, shared: str = "") -> Match:
        """The best prefix that `tokens` could take over: at most all but the last, whose logits are needed.

        What is kept under the salt `shared` counts too, unless it is empty."""
        most = len(tokens) - 1
        ready, source, coming, holder = 0, None, 0, None
        for each in dict.fromkeys((salt, shared or salt)):
            for length, holding in self._tree.matches(each, tokens):
                limit = min(length, most)
                if limit <= ready or limit < LEAST_SHARED:
                    break
                usable = self._usable(holding, limit)
                if usable > ready and usable >= LEAST_SHARED:
                    ready, source = usable, holding
                if holding.live and holding.computed < limit and limit > coming:
                    coming, holder = limit, holding
        return Match(ready, source, coming, holder)

    def _usable(self, holding: Holding, limit: int) -> int:
        if self.anywhere:
            position = min(limit, holding.computed)
            return position if self._memory.keeps_window(holding.sequence, position) else 0
        return holding.computed if holding.computed <= limit else 0

    # --- changing -----------------------------------------------------------------------------

    def open(self, salt: str, tokens: list[int], match: Match, *, shared: str = "") -> Holding | None:
        """A live holding for a request's tokens that starts with what `match` has ready. None: no id is free."""
        sequence = self._take_id(spare=match.source)
        if sequence is None:
            return None
        holding = Holding(sequence, salt, tokens, live=True, last_used=self._tick(), shared=shared)
        if match.source is not None and match.ready:
            self._fork(match.source, holding, match.ready)
        self._tree.insert(holding, salt, tokens)
        return holding

    def checkpoint(self, live: Holding) -> None:
        """Keep the state of a live holding as it is now, for others to start from; dropped without a free id."""
        sequence = self._take_id()
        if sequence is None:
            return
        kept = Holding(sequence, live.salt, live.tokens[: live.computed], live=False, last_used=self._tick(),
                       shared=live.shared)
        self._fork(live, kept, live.computed)
        self._keep(kept)

    def adopt(self, salt: str, shared: str, tokens: list[int], fill: Callable[[int], bool]) -> Holding | None:
        """An idle holding whose cells `fill` writes into the id it is given. None: there is no place, or it could
        not."""
        if not self.make_room(len(tokens)) or (sequence := self._take_id()) is None:
            return None
        if not fill(sequence):
            self._memory.drop_sequence(sequence)
            self._free.append(sequence)
            return None
        holding = Holding(sequence, salt, tokens, live=False, last_used=self._tick(), shared=shared)
        self.advance(holding, len(tokens))
        self._keep(holding)
        return holding

    def at(self, holding: Holding, position: int, use: Callable[[int], T]) -> T | None:
        """What `use` makes of an id that holds the first `position` tokens, for that moment. None: no id is free."""
        if position == holding.computed:
            return use(holding.sequence)
        if not self._free:
            return None
        self._memory.copy_sequence(holding.sequence, self._free[-1], position)
        try:
            return use(self._free[-1])
        finally:
            self._memory.drop_sequence(self._free[-1])

    def _fork(self, source: Holding, target: Holding, end: int) -> None:
        self._memory.copy_sequence(source.sequence, target.sequence, end)
        source.last_used = self._tick()
        for segment in list(source.segments):
            if segment.start >= end:
                break
            if segment.end > end:
                self._cut(segment, end)
            segment.owners.add(target)
            target.segments.append(segment)
        target.computed = end
        covered = self.anywhere and not source.live and source.computed == end and source.salt == target.salt
        if covered:  # the new one has all its cells: keeping both would only hold an id
            self.release(source)

    @staticmethod
    def _cut(segment: _Segment, at: int) -> None:
        tail = _Segment(at, segment.end, set(segment.owners))
        segment.end = at
        for owner in segment.owners:
            owner.segments.insert(owner.segments.index(segment) + 1, tail)

    def advance(self, holding: Holding, count: int) -> None:
        """The next `count` tokens of the holding were computed into cells of its own."""
        last = holding.segments[-1] if holding.segments else None
        if last is not None and last.end == holding.computed and len(last.owners) == 1:
            last.end += count
        else:
            holding.segments.append(_Segment(holding.computed, holding.computed + count, {holding}))
        holding.computed += count
        self.used += count

    def retire(self, holding: Holding, *, keep: bool) -> None:
        """A request is over: its computed tokens stay as an idle prefix, or go at once."""
        if not keep or not holding.computed:
            self.release(holding)
            return
        holding.live = False
        del holding.tokens[holding.computed :]
        holding.last_used = self._tick()
        self._keep(holding)

    def _keep(self, holding: Holding) -> None:
        """As an idle one, the last to go."""
        self._tree.insert(holding, holding.salt, holding.tokens)
        self._idle[holding] = None
        if len(self._idle) > self._most_idle:
            self.evict()

    def release(self, holding: Holding) -> None:
        """Free the id, and the cells that nobody else shares."""
        freed = 0
        for segment in holding.segments:
            segment.owners.discard(holding)
            if not segment.owners:
                freed += segment.end - segment.start
        self.used -= freed
        if self._parking is not None and holding.computed:
            self._memory.copy_sequence(holding.sequence, self._parking, holding.computed)
            self.parked += freed
        self._memory.drop_sequence(holding.sequence)
        if self.parked > self._most_parked:
            self.unpark()
        holding.segments = []
        holding.computed = 0
        holding.live = False
        self._tree.remove(holding)
        self._idle.pop(holding, None)
        self._free.append(holding.sequence)

    def evict(self, *, spare: Holding | None = None) -> bool:
        """Let the least recently used idle holding go. False: there is none."""
        candidates: Iterable[Holding] = (holding for holding in self._idle if holding is not spare)
        oldest = min(candidates, key=lambda holding: holding.last_used, default=None)
        if oldest is None:
            return False
        self.evictions += 1
        self.release(oldest)
        return True

    def make_room(self, cells: int, *, spare: Holding | None = None) -> bool:
        """Evict until `cells` are free. False: even without idle holdings there are not so many."""
        while self.free < cells:
            if not self.evict(spare=spare):
                return False
        if self.free - self.parked < cells:
            self.unpark()
        return True

    def unpark(self) -> bool:
        """Give the parked cells back to the context. False: there are none."""
        if self._parking is None or not self.parked:
            return False
        self._memory.drop_sequence(self._parking)
        self.parked = 0
        return True

    def _take_id(self, spare: Holding | None = None) -> int | None:
        if not self._free and not self.evict(spare=spare):
            return None
        return self._free.pop()

    def _tick(self) -> int:
        self._clock += 1
        return self._clock
