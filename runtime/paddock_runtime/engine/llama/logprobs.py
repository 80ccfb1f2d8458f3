"""Log probabilities of a token and its rivals, from the logits before any sampler touched them."""

from __future__ import annotations

import numpy as np

from paddock_runtime.engine.llama.context import Floats
from paddock_runtime.engine.llama.weights import Weights
from paddock_runtime.engine.protocol import PositionLogprobs, TokenLogprob


class Distribution:
    """A row's probabilities: made before sampling, asked after it."""

    def __init__(self, row: Floats, top: int) -> None:
        self._row = row.astype(np.float64)
        peak = self._row.max()
        self._log_sum = float(peak + np.log(np.exp(self._row - peak).sum()))
        top = min(top, len(row))
        ids = np.argpartition(row, -top)[-top:] if top else np.empty(0, np.int64)
        self._top = ids[np.argsort(-self._row[ids], kind="stable")]

    def of(self, token: int, weights: Weights) -> PositionLogprobs:
        return PositionLogprobs(self._one(token, weights), [self._one(int(rival), weights) for rival in self._top])

    def _one(self, token: int, weights: Weights) -> TokenLogprob:
        piece = weights.piece(token)
        return TokenLogprob(piece.decode("utf-8", "replace"), piece, float(self._row[token]) - self._log_sum)
