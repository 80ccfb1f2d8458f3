"""The revisions of a server on this machine: its record says what was, the manifest in its directory what is."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import quote

from paddock_api.history import ModelHistory, PastRevision
from paddock_api.identity import ModelId
from paddock_cli.ask import ask
from paddock_cli.errors import CommandError
from paddock_cli.manifests import find, put_spec

_SECONDS = 10.0


class Server:
    """Implements history.Place."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def history(self, model: ModelId) -> ModelHistory:
        path = f"/models/{quote(model.namespace, safe='')}/{quote(model.name, safe='')}/history"
        answer = ask(self._url, path, otherwise=", or a cluster with --namespace")
        try:
            return ModelHistory.model_validate_json(answer)
        except ValueError:
            raise CommandError(f"{self._url} is no Paddock server, or one of another version") from None

    def roll_back(self, model: ModelId, target: PastRevision, before: ModelHistory) -> str:
        if before.directory is None:
            raise CommandError(f"{self._url} serves no directory of manifests: it is a pod of a cluster, so name that "
                               "with --namespace")
        namespace, _, name = before.model.partition("/")  # an alias may have been given
        manifest = find(Path(before.directory), namespace, name)
        put_spec(manifest, target.spec)
        now = self._taken_over(model, target)
        done = f"{before.model} is at revision {target.number} again: {manifest.path} was changed"
        if now is None:
            return f"{done}; the server has not taken it over yet, see {self._url}/state"
        return f"{done}, the server took it over as revision {now}"

    def _taken_over(self, model: ModelId, target: PastRevision) -> int | None:
        """The number that the revision got."""
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            found = self.history(model)
            if found.desired == target.id:
                return next((each.number for each in found.revisions if each.id == target.id), None)
            time.sleep(0.1)
        return None
