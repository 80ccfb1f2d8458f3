"""Usage replayed over virtual time: what a budget and a policy would have made of it. Pure; it decides with the
scheduler's own function."""

from paddock_runtime.replay.comparison import Compared, compare
from paddock_runtime.replay.report import Outcome
from paddock_runtime.replay.simulator import replay
from paddock_runtime.replay.strategies import STRATEGIES, Strategy, plain_lru, priority_only
from paddock_runtime.replay.trace import Candidate, Request, Trace, TraceError, parse_trace

__all__ = ["STRATEGIES", "Candidate", "Compared", "Outcome", "Request", "Strategy", "Trace", "TraceError", "compare",
           "parse_trace", "plain_lru", "priority_only", "replay"]
