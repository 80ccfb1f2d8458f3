"""What a check of `spec.verify` says of an answer or of logits. Pure."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt

from paddock_api.json_check import problem
from paddock_api.patterns import Pattern
from paddock_api.verify import Check, Demand

_SHOWN = 200  # characters of an answer or a prompt in evidence


def judge(check: Check, answer: str) -> str | None:
    """Why `answer` does not meet a check of text; None when it does."""
    match check.demand:
        case Demand.CONTAINS:
            assert check.contains is not None
            found = check.contains in answer
            return None if found else f"expected {shown(check.contains)} in the answer, got {shown(answer)}"
        case Demand.MATCHES:
            assert check.matches is not None
            found = Pattern(check.matches).found_in(answer)
            return None if found else f"expected an answer that matches {shown(check.matches)}, got {shown(answer)}"
        case Demand.SCHEMA:
            return _schema_problem(check, answer)
        case Demand.DISTANCE:
            raise ValueError("a distance is no matter of text")


def _schema_problem(check: Check, answer: str) -> str | None:
    try:
        value = json.loads(answer.strip())
    except (ValueError, RecursionError) as error:
        return f"expected JSON under the schema, got {shown(answer)}, which is no JSON: {error}"
    found = problem(value, check.json_schema)
    return None if found is None else f"expected JSON under the schema, got {shown(answer)}: {found}"


def distance(one: bytes, other: bytes) -> float:
    """The Jensen-Shannon divergence, in nats, of the softmaxes of two rows of float32 logits: 0…ln 2.

    Raises ValueError for rows of different lengths or with values that are no numbers."""
    first, second = _log_softmax(one), _log_softmax(other)
    if len(first) != len(second):
        raise ValueError(f"the vocabularies have {len(first)} and {len(second)} tokens: distances are not defined")
    middle = np.logaddexp(first, second) - np.log(2.0)
    divergence = 0.5 * (_weighed(first, middle) + _weighed(second, middle))
    return float(min(max(divergence, 0.0), np.log(2.0)))


def _log_softmax(row: bytes) -> npt.NDArray[np.float64]:
    logits = np.frombuffer(row, "<f4").astype(np.float64)
    if not len(logits) or not np.isfinite(logits).all():
        raise ValueError("the logits are not all numbers")
    shifted: npt.NDArray[np.float64] = logits - logits.max()
    return shifted - float(np.log(np.exp(shifted).sum()))


def _weighed(log_p: npt.NDArray[np.float64], log_m: npt.NDArray[np.float64]) -> float:
    return float((np.exp(log_p) * (log_p - log_m)).sum())


def shown(text: str) -> str:
    """As evidence quotes it: on one line, bounded."""
    return json.dumps(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…", ensure_ascii=False)
