"""Continuous batching on one context: admit, plan, compute, sample. The decode thread calls `step`."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable

from paddock_runtime.engine.llama.batching import Pending, plan
from paddock_runtime.engine.llama.context import Context, Decoded, Floats
from paddock_runtime.engine.llama.holdings import Holdings, Match
from paddock_runtime.engine.llama.keeper import Keeper
from paddock_runtime.engine.llama.logprobs import Distribution
from paddock_runtime.engine.llama.pace import Pace
from paddock_runtime.engine.llama.sequences import Sequence
from paddock_runtime.engine.protocol import (
    ContextStats,
    Delta,
    Message,
    PositionLogprobs,
    Rejected,
    Scored,
    Started,
    Usage,
)

# Waiting for another's prefix must be worth it: fewer tokens are computed sooner than waited for.
_LEAST_GAIN = 16
# Prefixes shorter than this are not worth an id.
_LEAST_KEPT = 16
# A file must save so many tokens to be worth its reading.
_LEAST_RESTORED = 32


class Generator:
    def __init__(self, number: int, context: Context, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.number = number
        self.context = context
        self._clock = clock
        self._weights = context.weights
        shape = context.shape
        kind = self._weights.memory_class
        self._parallel = shape.parallel
        self.holdings = Holdings(
            context, capacity=sys.maxsize if kind == "recurrent" else shape.cache_tokens, sequences=shape.sequences,
            anywhere=kind in ("full", "sliding"))
        self.keeper: Keeper | None = None  # if prompts are kept on disk
        self.pace = Pace(most=shape.step_tokens)
        self._waiting: deque[Sequence] = deque()
        self._live: list[Sequence] = []  # oldest first
        self._known: dict[int, Sequence] = {}
        self._arrivals = 0
        self.progressed = False  # whether the last step computed anything
        self.evaluated = 0
        self.reused = 0
        self.generated = 0
        self.preemptions = 0

    # --- commands -----------------------------------------------------------------------------

    def submit(self, sequence: Sequence) -> None:
        leaves_window = self.context.windowed and sequence.prompt_tokens + sequence.most > self._weights.window
        if (not self.holdings.anywhere or leaves_window) and sequence.prompt_tokens > _LEAST_KEPT:
            # The state just before the last prompt token serves everyone who asks the same again, and a chat's next
            # turn: that rarely has the very tokens of the answer, and there is no way back from its end.
            sequence.stops.add(sequence.prompt_tokens - 1)
        self._arrivals += 1
        sequence.arrival = self._arrivals
        self._known[sequence.id] = sequence
        self._waiting.append(sequence)

    def cancel(self, request: int) -> None:
        sequence = self._known.get(request)
        if sequence is not None:
            self._end(sequence)

    def pause(self, request: int, *, paused: bool) -> None:
        sequence = self._known.get(request)
        if sequence is not None:
            sequence.paused = paused

    def set_threads(self, count: int) -> None:
        self.context.set_threads(count)

    def trim(self) -> None:
        """Idle prefixes go."""
        while self.holdings.evict():
            pass
        self.holdings.unpark()

    def leave(self) -> None:
        """Ends all requests: what they computed is idle now."""
        for sequence in list(self._known.values()):
            self._end(sequence)

    def close(self) -> None:
        self.leave()
        self.context.close()

    @property
    def busy(self) -> bool:
        """Whether a step may do something."""
        return bool(self._waiting) or any(not self._resting(sequence) for sequence in self._live)

    @property
    def requests(self) -> int:
        return len(self._known)

    def stats(self) -> ContextStats:
        keeper = self.keeper
        return ContextStats(
            prompts_written=keeper.written if keeper else 0, prompts_restored=keeper.restored if keeper else 0,
            prompts_refused=keeper.refused if keeper else 0,
            context=self.number, live=len(self._live), waiting=len(self._waiting), idle_prefixes=self.holdings.idle,
            cells_used=self.holdings.used, cells_total=self.context.shape.cache_tokens,
            prompt_tokens_evaluated=self.evaluated, prompt_tokens_reused=self.reused, tokens_generated=self.generated,
            preemptions=self.preemptions, prefix_evictions=self.holdings.evictions)

    # --- a step -------------------------------------------------------------------------------

    def step(self) -> tuple[list[Message], list[Delta]]:
        """Admit who fits, compute one batch, sample. At most one llama_decode that did something."""
        messages = self._admit()
        runnable, counts = self._fit()
        total = sum(counts)
        self.progressed = total > 0
        if not total:
            return messages, []
        rows = self._fill(runnable, counts)
        began = self._clock()
        result = self.context.decode(total)
        if result is not Decoded.OK:
            return messages + self._relieve(), []
        logits = self.context.logits(len(rows)) if rows else None  # waits for the computation
        prompts = [count for count in counts if count > 1]
        self.pace.observe(prompt_tokens=sum(prompts), seconds=self._clock() - began, generating=total - sum(prompts),
                          prompts=len(prompts))
        for sequence, count in zip(runnable, counts, strict=True):
            self._advance(sequence, count)
        if logits is None:
            return messages, []
        messages += [self._score(sequence, row) for sequence, row in zip(rows, logits, strict=True) if sequence.scored]
        return messages, [delta for sequence, row in zip(rows, logits, strict=True)
                          if not sequence.scored and (delta := self._sample(sequence, row)) is not None]

    @staticmethod
    def _resting(sequence: Sequence) -> bool:
        return sequence.paused and sequence.generated > 0

    def _set_aside(self) -> None:
        """What nobody waits for makes place at once; what it has computed stays, for it and for others."""
        for sequence in [live for live in self._live if live.background]:
            assert sequence.holding is not None
            sequence.tokens = list(sequence.tokens)  # the holding's are cut
            self.holdings.retire(sequence.holding, keep=sequence.holding.computed >= _LEAST_KEPT)
            sequence.holding = None
            self._live.remove(sequence)
            self._waiting.append(sequence)

    def _requested(self) -> bool:
        """Whether somebody waits for a step."""
        return any(not each.background for each in self._waiting) or any(
            not each.background and not self._resting(each) for each in self._live)

    def _admit(self) -> list[Message]:
        messages: list[Message] = []
        requested = self._requested()
        if requested:
            self._set_aside()
        for sequence in list(self._waiting):
            if len(self._live) >= self._parallel:
                break
            if sequence.blocked or (sequence.background and (requested or any(live.background for live in self._live))):
                continue
            match = self.holdings.match(sequence.salt, sequence.tokens, shared=sequence.shared)
            if self._brings(sequence, match):
                match = self.holdings.match(sequence.salt, sequence.tokens, shared=sequence.shared)
            if self._rather_waits(sequence, match):
                continue
            if not self._has_room(sequence, match):
                break  # in order of arrival: a short prompt must not starve a long one
            holding = self.holdings.open(sequence.salt, sequence.tokens, match, shared=sequence.shared)
            if holding is None:
                break
            self._waiting.remove(sequence)
            sequence.holding, sequence.waits_for = holding, None
            self._live.append(sequence)
            self._live.sort(key=lambda live: live.arrival)  # a preempted one is as old as it was
            self.reused += match.ready
            if not sequence.started:
                sequence.started = True
                sequence.cached_tokens = match.ready
                sequence.sampler.prime(sequence.tokens)
                messages.append(Started(
                    id=sequence.id, prompt_tokens=sequence.prompt_tokens, cached_tokens=match.ready))
        return messages

    def _brings(self, sequence: Sequence, match: Match) -> bool:
        """Whether more of the prompt's beginning came back from disk than memory has. Asked once a request."""
        if self.keeper is None or sequence.looked:
            return False
        sequence.looked = True
        found = self.keeper.find(sequence.salts, sequence.tokens)
        if found is None or found.usable < max(match.ready, match.coming) + _LEAST_RESTORED:
            return False
        cells = found.file.header.count + len(sequence.tokens) - found.usable
        others = sum(live.pending for live in self._live)
        if self._live and cells + others > self.holdings.free + self.holdings.reclaimable():
            return False
        return self.keeper.restore(found, sequence.shared)

    def _rather_waits(self, sequence: Sequence, match: Match) -> bool:
        """Another sequence is computing more of this prompt right now: wait for it instead of doing it twice."""
        if match.holder is None or match.coming - match.ready < _LEAST_GAIN:
            return False
        sequence.waits_for, sequence.waits_until = match.holder, match.coming
        holder = next(live for live in self._live if live.holding is match.holder)
        (holder.awaited if self.holdings.anywhere else holder.stops).add(match.coming)
        return True

    def _has_room(self, sequence: Sequence, match: Match) -> bool:
        if not self._live:
            return True
        others = sum(live.pending for live in self._live)
        return (len(sequence.tokens) - match.ready + others
                <= self.holdings.free + self.holdings.reclaimable(spare=match.source))

    def _fit(self) -> tuple[list[Sequence], list[int]]:
        """The plan that has cells: idle prefixes go first, then the youngest live sequence."""
        while True:
            runnable = [sequence for sequence in self._live if not self._resting(sequence)]
            if not runnable:
                return [], []
            pending = [Pending(sequence.pending, sequence.next_stop()) for sequence in runnable]
            generating = sum(each.tokens == 1 for each in pending)
            budget = self.pace.chunk(generating=generating, prompts=len(pending) - generating)
            limits = {"prompt_budget": budget, "step_limit": self.context.shape.step_tokens}
            wanted = plan(pending, cells=sys.maxsize, **limits)
            assert wanted is not None
            self.holdings.make_room(sum(wanted))
            if sum(wanted) <= self.holdings.free:
                return runnable, wanted
            counts = plan(pending, cells=self.holdings.free, **limits)
            if counts is not None:
                return runnable, counts
            self._preempt(self._live[-1])

    def _fill(self, runnable: list[Sequence], counts: list[int]) -> list[Sequence]:
        """Write the batch; return the sequences that get a row of logits, in order."""
        context, at, rows = self.context, 0, []
        for sequence, count in zip(runnable, counts, strict=True):
            if not count:
                continue
            holding = sequence.holding
            assert holding is not None
            start, end = holding.computed, holding.computed + count
            context.tokens[at : at + count] = sequence.tokens[start:end]
            context.positions[at : at + count] = range(start, end)
            context.sequence_ids[at : at + count] = holding.sequence
            context.outputs[at : at + count] = 0
            at += count
            if end == len(sequence.tokens):
                context.outputs[at - 1] = 1
                rows.append(sequence)
        return rows

    def _advance(self, sequence: Sequence, count: int) -> None:
        holding = sequence.holding
        assert holding is not None
        if not count:
            return
        before = holding.computed
        self.holdings.advance(holding, count)
        self.evaluated += max(0, min(holding.computed, sequence.prompt_tokens) - before)
        sequence.awaited.discard(holding.computed)
        if holding.computed in sequence.stops:
            sequence.stops.discard(holding.computed)
            self.holdings.checkpoint(holding)

    def _relieve(self) -> list[Message]:
        """llama.cpp found no cells although the books said so (a window cache holds shared cells longer)."""
        if self.holdings.unpark() or self.holdings.evict():
            return []
        if len(self._live) > 1:
            self._preempt(self._live[-1])
            return []
        sequence = self._live[0]
        self._end(sequence)
        return [Rejected(id=sequence.id, code="internal_error",
                         message="the KV cache has no cells for this request alone: raise spec.engine.cacheTokens")]

    def _preempt(self, sequence: Sequence) -> None:
        """Take the cells of a live sequence; it waits at the head of the queue and is computed again."""
        assert sequence.holding is not None
        self.preemptions += 1
        self.holdings.release(sequence.holding)
        sequence.holding = None
        self._live.remove(sequence)
        self._waiting.appendleft(sequence)

    def _score(self, sequence: Sequence, row: Floats) -> Scored:
        self._end(sequence)
        return Scored(id=sequence.id, logits=row.astype("<f4").tobytes())

    def _sample(self, sequence: Sequence, row: Floats) -> Delta | None:
        distribution = Distribution(row, sequence.logprobs) if sequence.logprobs is not None else None
        token = sequence.sampler.choose(row)
        if self._weights.ends(token):
            return self._finish(sequence, "", "stop")
        sequence.tokens.append(token)
        sequence.generated += 1
        sequence.unsent += 1
        self.generated += 1
        text = sequence.text.push(self._weights.piece(token))
        logprobs = [distribution.of(token, self._weights)] if distribution else None
        if sequence.text.stopped_by is not None:
            return self._finish(sequence, text, "stop", logprobs)
        full = len(sequence.tokens) >= self.context.shape.context_length
        if full or sequence.generated >= sequence.most:
            return self._finish(sequence, text, "length", logprobs)
        if not text and logprobs is None:
            return None
        delta = Delta(sequence.id, text, sequence.unsent, logprobs)
        sequence.unsent = 0
        return delta

    def _finish(self, sequence: Sequence, text: str, reason: str, logprobs: list[PositionLogprobs] | None = None
                ) -> Delta:
        if sequence.text.stopped_by is None:
            text += sequence.text.finish()
        usage = Usage(sequence.prompt_tokens, sequence.cached_tokens, sequence.generated)
        stopped_by = sequence.text.stopped_by
        self._end(sequence)
        if stopped_by is not None:
            reason = "stop"
        return Delta(sequence.id, text, sequence.unsent, logprobs, reason, usage, stopped_by)

    def _end(self, sequence: Sequence) -> None:
        """Forget a request, keep its prefix."""
        del self._known[sequence.id]
        if sequence.holding is None:
            self._waiting.remove(sequence)
        else:
            self._live.remove(sequence)
            sequence.holding.mark = sequence.prompt_tokens - 1
            kept = sequence.holding.computed >= _LEAST_KEPT and not sequence.scored
            self.holdings.retire(sequence.holding, keep=kept)
            sequence.holding = None
        sequence.sampler.close()
