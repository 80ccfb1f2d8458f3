"""A made-up day of a pod that many share: seeded, so that everybody gets the same one.

Fifty Models of sizes as they are in use, popular by Zipf's law, each with an hour of its own at which it is asked for
most. Four kinds of traffic: people who talk to one model, people who go to and fro between two or three, programs that
send a burst to one, and single calls. Nobody's popularity has to do with size or priority.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from paddock_runtime.replay.trace import Candidate, Request, Trace

DAY = 86_400.0
_GB = 10**9
_PARAMETERS = (0.5, 1.0, 1.7, 3.0, 3.8, 4.0, 7.0, 7.0, 8.0, 8.0, 9.0, 12.0, 14.0)  # billions
_BYTES_A_PARAMETER = (0.61, 0.61, 0.61, 0.72, 1.06)  # Q4_K_M mostly, Q5_K_M, Q8_0
_READ_RATE = 1.0 * _GB  # bytes a second, from disk into a child
_START_SECONDS = 1.0
_PRIORITIES = (0, 0, 0, 0, 0, 0, 0, 5, 10)
_TOKEN_RATE = 150 * _GB  # bytes of weights a second that decoding goes through
_ZIPF = 1.0
_SWING = 0.8  # how much less is asked for at the quietest hour


def synthetic_day(seed: int, *, models: int = 50, requests: int = 20_000) -> Trace:
    rng = random.Random(seed)
    made = [_model(rng, number) for number in range(models)]
    ranks = rng.sample(range(models), models)
    day = _Day(rng, made, [1.0 / (rank + 1) ** _ZIPF for rank in ranks])
    asked: list[Request] = []
    while len(asked) < requests:
        asked += day.session()
    asked = asked[:requests]
    return Trace({model.key: model for model in made}, tuple(sorted(asked, key=lambda request: request.time)))


def room_for(trace: Trace, models: int) -> int:
    """Bytes that `models` Models of the mean size take."""
    return models * sum(model.bytes for model in trace.models.values()) // len(trace.models)


def _model(rng: random.Random, number: int) -> Candidate:
    weights = int(rng.choice(_PARAMETERS) * rng.choice(_BYTES_A_PARAMETER) * rng.uniform(0.92, 1.08) * _GB)
    context = int(0.3 * _GB + 0.15 * weights)
    key = f"model-{number:02d}"
    return Candidate(key=key, weights=key, weights_bytes=weights, context_bytes=context,
                     load_seconds=_START_SECONDS + weights / _READ_RATE, priority=rng.choice(_PRIORITIES),
                     decode_rate=_TOKEN_RATE / weights, prefill_rate=30 * _TOKEN_RATE / weights)


class _Day:
    def __init__(self, rng: random.Random, models: list[Candidate], popularity: list[float]) -> None:
        self._rng, self._models, self._popularity = rng, models, popularity
        self._peaks = [rng.gauss(14.0, 4.0) * 3600.0 for _ in models]

    def session(self) -> Iterator[Request]:
        """All requests of somebody or something, from a moment of the day on."""
        start, rng = self._moment(), self._rng
        kind = rng.random()
        if kind < 0.45:
            yield from self._talk(start, self._pick(start, 1), rng.randint(3, 15))
        elif kind < 0.65:
            yield from self._talk(start, self._pick(start, rng.choice((2, 2, 3))), rng.randint(6, 30))
        elif kind < 0.70:
            yield from self._burst(start, self._pick(start, 1)[0], rng.randint(20, 80))
        else:
            yield self._request(start, self._pick(start, 1)[0])

    def _talk(self, at: float, models: list[Candidate], turns: int) -> Iterator[Request]:
        for turn in range(turns):
            request = self._request(at, models[turn % len(models)])
            yield request
            at += request.service + self._rng.expovariate(1 / 25.0)

    def _burst(self, at: float, model: Candidate, count: int) -> Iterator[Request]:
        for _ in range(count):
            yield self._request(at, model)
            at += self._rng.expovariate(1 / 1.5)

    def _request(self, at: float, model: Candidate) -> Request:
        prompt, answer = self._rng.lognormvariate(5.5, 1.0), self._rng.lognormvariate(4.8, 0.7)
        return Request(at, model.key, prompt / model.prefill_rate + answer / model.decode_rate)

    def _moment(self) -> float:
        """More in the afternoon than at night."""
        while True:
            at = self._rng.uniform(0.0, DAY)
            if self._rng.random() < _daylight(at, 14 * 3600.0):
                return at

    def _pick(self, at: float, count: int) -> list[Candidate]:
        weights = [popular * _daylight(at, peak) for popular, peak in zip(self._popularity, self._peaks, strict=True)]
        picked: list[Candidate] = []
        while len(picked) < count:
            model = self._rng.choices(self._models, weights)[0]
            if model not in picked:
                picked.append(model)
        return picked


def _daylight(at: float, peak: float) -> float:
    return 1.0 - _SWING * (0.5 - 0.5 * math.cos(2 * math.pi * (at - peak) / DAY))
