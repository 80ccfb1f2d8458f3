"""The token of a pool, derived from one root secret: who needs it computes it, nobody reads Secrets through the API."""

from __future__ import annotations

import hashlib
import hmac

MIN_ROOT_BYTES = 32


def root_token(content: bytes) -> bytes:
    """The root secret in its file's content: white space around it does not count.

    Raises ValueError, which never shows the content."""
    root = content.strip()
    if len(root) < MIN_ROOT_BYTES:
        raise ValueError(f"the root token has {len(root)} bytes; put at least {MIN_ROOT_BYTES} random ones there")
    return root


def pool_token(root: bytes, namespace: str, pool: str) -> str:
    """64 hex digits: HMAC-SHA256 by `root` of the pool's name. Who knows one pool's token learns no other's.

    Raises ValueError for an empty name or one that holds a slash."""
    if not namespace or not pool or "/" in namespace or "/" in pool:
        raise ValueError(f"{namespace!r} and {pool!r} do not name a pool")
    return hmac.new(root, f"paddock-pool-token/v1/{namespace}/{pool}".encode(), hashlib.sha256).hexdigest()
