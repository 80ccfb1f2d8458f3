"""The gateway's word to the pods: the token of each pool, derived from the root token's file."""

from __future__ import annotations

import logging
from pathlib import Path

from paddock_api.tokens import pool_token, root_token
from paddock_gateway.fleet.snapshot import PoolId

logger = logging.getLogger("paddock.gateway.access")


class Tokens:
    """`refresh` reads the file again; an unreadable one leaves the last good token in force."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, or ValueError when the file holds no usable token."""
        self._path = path
        # Together, since `refresh` runs in another thread: no token is ever kept under another root than its own.
        self._known: tuple[bytes, dict[PoolId, str]] = (root_token(path.read_bytes()), {})

    def of(self, pool: PoolId) -> str:
        root, tokens = self._known
        token = tokens.get(pool)
        if token is None:
            token = tokens[pool] = pool_token(root, pool.namespace, pool.name)
        return token

    def refresh(self) -> None:
        try:
            root = root_token(self._path.read_bytes())
        except (OSError, ValueError) as error:
            logger.error("the root token can't be read, the last one stays in force: %s", error)
            return
        if root != self._known[0]:
            self._known = (root, {})
            logger.info("the root token has changed")
