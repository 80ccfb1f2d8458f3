"""Log probabilities in OpenAI's two wire shapes: of chat, and of text completions."""

from __future__ import annotations

import math
from typing import Any

from paddock_runtime.engine.protocol import PositionLogprobs, TokenLogprob

# JSON has no infinity; this is what OpenAI sends for a token that can't come.
_NEVER = -9999.0


def chat_logprobs(positions: list[PositionLogprobs]) -> dict[str, Any]:
    return {"content": [{**_chat_token(position.chosen),
                         "top_logprobs": [_chat_token(token) for token in position.top]} for position in positions],
            "refusal": None}


def text_logprobs(positions: list[PositionLogprobs], offset: int) -> dict[str, Any]:
    """`offset`: characters of this choice's text before the first position."""
    offsets: list[int] = []
    for position in positions:
        offsets.append(offset)
        offset += len(position.chosen.text)
    return {
        "tokens": [position.chosen.text for position in positions],
        "token_logprobs": [_finite(position.chosen.logprob) for position in positions],
        "top_logprobs": [{token.text: _finite(token.logprob) for token in position.top} for position in positions],
        "text_offset": offsets,
    }


def _chat_token(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.text, "logprob": _finite(token.logprob), "bytes": list(token.data)}


def _finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else _NEVER
