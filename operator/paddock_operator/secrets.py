"""The secrets that the operator uses: the root token, from a mounted file, and hub tokens that a pool's owner names."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

from paddock_api.errors import Code, PaddockError
from paddock_api.runtime_pool import RuntimePool
from paddock_api.tokens import pool_token, root_token
from paddock_operator.cluster.errors import ApiError, Unavailable
from paddock_operator.cluster.reader import Reader
from paddock_operator.cluster.resources import SECRETS
from paddock_operator.hub.credentials import Credential
from paddock_operator.store import Key

_LATER = 60.0
_PARAM = "source.huggingFace.credential"


class Tokens:
    """The file is read each time: the mounted Secret may have been renewed."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def of(self, pool: Key) -> str:
        """Raises OSError, and ValueError for a file without a proper token; neither shows the content."""
        return pool_token(root_token(self._file.read_bytes()), pool.namespace, pool.name)


class Credentials:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def of(self, pool: RuntimePool, name: str) -> Mapping[str, Credential]:
        """The pool's credential `name`, under that name. Raises PaddockError SOURCE_UNAVAILABLE, since Secrets and
        rights may come later."""
        given = next((each for each in pool.spec.credentials if each.name == name), None)
        if given is None:
            return {}
        where = f"the Secret {given.secret_name} in namespace {pool.metadata.namespace}"
        try:
            found = await self._reader.get(SECRETS, pool.metadata.namespace, given.secret_name)
        except Unavailable:
            raise
        except ApiError as error:
            raise _missing(f"{where} can't be read ({error.reason}); allow the operator to get it") from None
        if found is None:
            raise _missing(f"{where}, which the credential {name} names, does not exist; create it")
        encoded = (found.get("data") or {}).get(given.key)
        if encoded is None:
            raise _missing(f"{where} has no key {given.key}")
        try:
            token = base64.b64decode(encoded).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise _missing(f"{where}: the value of {given.key} is no text") from None
        return {name: Credential(token, given.endpoint)}


def _missing(message: str) -> PaddockError:
    return PaddockError(Code.SOURCE_UNAVAILABLE, message, param=_PARAM, retry_after=_LATER)
