"""Idle prompts of one context are written behind to disk, and come back when a request can use them.

The decode thread copies a state out between steps (about 5 ms for 2,000 tokens of a small model); a thread of the
child's own hashes and writes it. One sequence at a time, so that memory is needed for one state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import NamedTuple

from paddock_runtime.engine.llama import native
from paddock_runtime.engine.llama.context import Context
from paddock_runtime.engine.llama.holdings import Holding, Holdings
from paddock_runtime.engine.llama.prefix import common_length
from paddock_runtime.engine.promptfiles import BadFile, Busy, PromptFile, PromptStore, digest, packed
from paddock_runtime.engine.protocol import PromptFolder

_MOST_FILES = 512  # that are known of; what else lies on disk is not looked for
_MOST_TOKEN_BYTES = 8 << 20
# A state is copied before it is written: it must fit into what a child may exceed its charge by (64 MiB or a tenth).
_LEAST_STATE_LIMIT = 48 << 20
_STATE_SHARE = 16
_EAGER = 2  # without anything to do, writes begin after 1 / this of the time
_POLL_SECONDS = 0.01


class Found(NamedTuple):
    """`usable` tokens of the file's are the beginning of a prompt; `salt` is the one it was found under."""

    file: PromptFile
    usable: int
    salt: str


class Keeper:
    """`say` is told what could not be read or written. Counts since the context opened."""

    def __init__(self, context: Context, holdings: Holdings, folder: PromptFolder, executor: Executor,
                 say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._context, self._holdings, self._folder = context, holdings, folder
        self._executor, self._say, self._clock = executor, say, clock
        self._store = PromptStore(Path(folder.folder), folder.key, native.version(), budget_bytes=folder.budget_bytes)
        kind = context.weights.memory_class
        self._sliding, self._full = kind == "sliding", kind == "full"
        self._most_state = max(_LEAST_STATE_LIMIT, context.memory_bytes // _STATE_SHARE)
        self._since: dict[Holding, float] = {}
        self._done: set[Holding] = set()
        self._tried: set[tuple[Holding, int]] = set()
        self._writing: Future[PromptFile | None] | None = None
        self._index: dict[str, dict[Path, PromptFile]] = {}  # by the digest of a salt
        self._files = self._token_bytes = 0
        self._looked = 0.0
        self.written = self.restored = self.refused = 0
        files, problems = self._store.index(most_files=_MOST_FILES, most_bytes=_MOST_TOKEN_BYTES)
        for file in reversed(files):
            self._remember(file)
        for problem in problems:
            self._refuse(problem)

    # --- writing behind -----------------------------------------------------------------------

    def work(self, *, busy: bool, leaving: bool = False) -> float | None:
        """Begins at most one write that is due. Seconds until it should be called again; None: nothing is to do.

        `busy`: steps wait, so only what has waited longest is written. `leaving`: everything is due."""
        now = self._clock()
        if busy and not leaving and now - self._looked < self._folder.write_seconds / 4:
            return None
        self._looked = now
        self._notice_idle(now)
        if self._writing is not None:
            if not self._writing.done():
                return _POLL_SECONDS
            self._written(self._writing)
        delay = 0.0 if leaving else self._folder.write_seconds / (1 if busy else _EAGER)
        waiting = [holding for holding in self._since if holding not in self._done]
        if not waiting:
            return None
        # Who leaves may not have the time for all: the last used is what comes back first.
        first = max(waiting, key=lambda each: each.last_used) if leaving else min(waiting, key=self._since.__getitem__)
        if (left := self._since[first] + delay - now) > 0:
            return left
        self._begin(first)
        return _POLL_SECONDS if self._writing is not None else 0.0

    def _notice_idle(self, now: float) -> None:
        idle = self._holdings.idle_holdings
        self._since = {holding: self._since.get(holding, now) for holding in idle
                       if holding.computed >= self._folder.least_tokens}
        self._done &= self._since.keys()
        self._tried = {each for each in self._tried if each[0] in self._since}

    def _begin(self, holding: Holding) -> None:
        """The state at its end, or, once that is known, at the end of its prompt: a window lacks what is needed to
        go back there."""
        for position in self._positions(holding):
            tokens = packed(holding.tokens[:position])
            if (holding, position) in self._tried or self._known(holding.salt, tokens):
                continue
            self._tried.add((holding, position))
            state = self._holdings.at(holding, position,
                                      lambda sequence: self._context.save_sequence(sequence, most=self._most_state))
            if state is None:
                continue
            self._writing = self._executor.submit(
                self._store.write, owner=holding.shared or holding.salt, salt=holding.salt, tokens=tokens, state=state)
            return
        self._done.add(holding)

    def _positions(self, holding: Holding) -> Iterator[int]:
        yield holding.computed
        mark = holding.mark
        if (self._sliding and self._folder.least_tokens <= mark < holding.computed
                and self._context.keeps_window(holding.sequence, mark)):
            yield mark

    def _written(self, writing: Future[PromptFile | None]) -> None:
        self._writing = None
        try:
            file = writing.result()
        except OSError as error:
            if not isinstance(error, Busy):
                self._done.update(self._since)  # not again and again: what becomes idle later is tried
            self._say(f"a prompt cache could not be written to {self._folder.folder}: {error.strerror or error}")
            return
        if file is None:
            return
        self.written += 1
        if self._full:  # the longer one can be rolled back to any shorter one
            for other in list(self._index.get(file.header.salt, {}).values()):
                if len(other.header.tokens) < len(file.header.tokens) and file.header.tokens.startswith(
                        other.header.tokens):
                    self._forget(other)
                    self._store.delete(other)
        self._remember(file)

    # --- coming back --------------------------------------------------------------------------

    def find(self, salts: Sequence[str], tokens: Sequence[int]) -> Found | None:
        """The file that holds the most of the beginning of `tokens`, all but the last at most."""
        wanted, best = packed(tokens[:-1]), None
        for salt in salts:
            for file in self._index.get(digest(salt), {}).values():
                usable = common_length(file.header.tokens, 0, wanted, 0) // 4
                if not self._full and usable < file.header.count:
                    continue
                if best is None or (usable, -file.header.count) > (best.usable, -best.file.header.count):
                    best = Found(file, usable, salt)
        return best

    def restore(self, found: Found, shared: str) -> bool:
        """As an idle holding. False: the file is gone or bad, or the context has no place for it."""
        file = found.file
        try:
            state = self._store.load(file)
        except (BadFile, OSError) as error:
            self._forget(file)
            if not isinstance(error, FileNotFoundError):
                self._refuse(f"{file.path.name}: {error}")
            return False
        tokens = memoryview(file.header.tokens).cast("i").tolist()
        holding = self._holdings.adopt(found.salt, shared, tokens,
                                       lambda sequence: self._context.restore_sequence(sequence, state))
        if holding is None:
            return False
        self._since[holding] = self._clock()
        self._done.add(holding)
        self.restored += 1
        return True

    # --- what is on disk ----------------------------------------------------------------------

    def _known(self, salt: str, tokens: bytes) -> bool:
        files = self._index.get(digest(salt), {}).values()
        return any((file.header.tokens.startswith(tokens) if self._full else file.header.tokens == tokens)
                   and file.path.exists() for file in files)

    def _remember(self, file: PromptFile) -> None:
        self._forget(file)
        self._index.setdefault(file.header.salt, {})[file.path] = file
        self._files += 1
        self._token_bytes += len(file.header.tokens)
        while self._files > _MOST_FILES or self._token_bytes > _MOST_TOKEN_BYTES:
            self._forget(min((each for some in self._index.values() for each in some.values()),
                             key=lambda each: each.used))

    def _forget(self, file: PromptFile) -> None:
        files = self._index.get(file.header.salt, {})
        known = files.pop(file.path, None)
        if known is not None:
            self._files -= 1
            self._token_bytes -= len(known.header.tokens)
        if not files:
            self._index.pop(file.header.salt, None)

    def _refuse(self, problem: str) -> None:
        self.refused += 1
        self._say(f"a saved prompt cache is not used and was deleted: {problem}")
