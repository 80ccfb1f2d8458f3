"""What sources stand for: pinned commit, files, digests, facts. Design: docs/design/2026-11-resolution.md."""

from paddock_operator.hub.credentials import Credential
from paddock_operator.resolve.resolved import Pin, Resolved
from paddock_operator.resolve.resolver import Resolver

__all__ = ["Credential", "Pin", "Resolved", "Resolver"]
