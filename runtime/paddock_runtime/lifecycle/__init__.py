"""The lifecycle of Models in one pod: loading, budgets, queues, crashes. `Supervisor` is all that others use."""

from paddock_runtime.lifecycle.files import Check
from paddock_runtime.lifecycle.limits import Backoff, Limits
from paddock_runtime.lifecycle.supervisor import Supervisor
from paddock_runtime.lifecycle.verifier import Chat

__all__ = ["Backoff", "Chat", "Check", "Limits", "Supervisor"]
