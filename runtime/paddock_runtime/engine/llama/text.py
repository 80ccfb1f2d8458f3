"""From token pieces to text that may be sent: whole characters, and nothing of a stop string."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Sequence

_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class _StopMatcher:
    """Aho-Corasick over the stop strings: one step a character, however many stops there are.

    A state is the longest end of the text read so far that begins some stop; its depth is what must be held back.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.firsts = frozenset(stop[0] for stop in stops)
        self.depth = [0]
        self.matched: list[str | None] = [None]
        self._next: list[dict[str, int]] = [{}]
        self._fallback = [0]
        for stop in stops:
            self._insert(stop)
        self._link()

    def _insert(self, stop: str) -> None:
        state = 0
        for character in stop:
            following = self._next[state].get(character)
            if following is None:
                following = len(self._next)
                self._next[state][character] = following
                self._next.append({})
                self.depth.append(self.depth[state] + 1)
                self.matched.append(None)
                self._fallback.append(0)
            state = following
        self.matched[state] = stop

    def _link(self) -> None:
        queue = deque(self._next[0].values())
        while queue:
            state = queue.popleft()
            for character, following in self._next[state].items():
                fallback = self.step(self._fallback[state], character)
                self._fallback[following] = fallback
                if self.matched[following] is None:
                    self.matched[following] = self.matched[fallback]
                queue.append(following)

    def step(self, state: int, character: str) -> int:
        while True:
            following = self._next[state].get(character)
            if following is not None:
                return following
            if state == 0:
                return 0
            state = self._fallback[state]


class TextStream:
    """Turns token pieces (bytes, possibly cut inside a UTF-8 character) into text that is safe to send: never half
    a character, never text that may turn out to be the beginning of a stop string.

    The stop string that is *complete* first ends the text; of several that are complete at the same character, the
    longest. So the result does not depend on how the text was cut into tokens, and no token is computed after a
    stop was seen. (llama-server looks once a token and takes the leftmost: the same, unless one token completes two.)
    Invalid UTF-8 becomes U+FFFD, as in `bytes.decode("utf-8", "replace")`. Held back are at most the bytes of a
    character and one character less than the longest stop. Empty stops are ignored.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self.stopped_by: str | None = None
        self._decoder = _utf8_decoder("replace")
        wanted = [stop for stop in stops if stop]
        self._matcher = _StopMatcher(wanted) if wanted else None
        self._state = 0
        self._held = ""

    def push(self, piece: bytes) -> str:
        """The text that is now safe to send, "" if none. After a stop matched it is always ""."""
        if self.stopped_by is not None:
            return ""
        return self._advance(self._decoder.decode(piece))

    def finish(self) -> str:
        """What is held back, at the end of the sequence: no stop can follow any more."""
        if self.stopped_by is not None:
            return ""
        text = self._advance(self._decoder.decode(b"", True))
        if self.stopped_by is None:
            text += self._held
        self._held = ""
        self._state = 0
        return text

    def _advance(self, text: str) -> str:
        matcher = self._matcher
        if matcher is None:
            return text
        if self._state == 0 and matcher.firsts.isdisjoint(text):  # nearly every token
            return text
        state = self._state
        for position, character in enumerate(text):
            state = matcher.step(state, character)
            stop = matcher.matched[state]
            if stop is not None:
                self.stopped_by = stop
                seen = self._held + text[: position + 1]
                self._held = ""
                return seen[: len(seen) - len(stop)]
        self._state = state
        seen = self._held + text
        safe = len(seen) - matcher.depth[state]
        self._held = seen[safe:]
        return seen[:safe]
