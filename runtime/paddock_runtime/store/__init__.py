"""Files by digest: fetched once, verified, shared by all Models and processes of a machine."""

from paddock_runtime.store.artifact import Artifact, Identity
from paddock_runtime.store.credentials import Credentials
from paddock_runtime.store.retries import RetryPolicy
from paddock_runtime.store.store import FileStore

__all__ = ["Artifact", "Credentials", "FileStore", "Identity", "RetryPolicy"]
