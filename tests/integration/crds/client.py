"""The API server's own answers, without kubectl between: a request takes milliseconds."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import httpx

from paddock_api.kinds import KINDS
from paddock_api.metadata import GROUP, VERSION

Document = Mapping[str, Any]
PLURALS = {kind.name: kind.plural for kind in KINDS}


class Answer(NamedTuple):
    """`message` is what kubectl would show; empty when all went well."""

    status: int
    body: dict[str, Any]

    @property
    def message(self) -> str:
        return "" if self.status < 300 else str(self.body.get("message", ""))


class Api:
    """Speaks as the user of a kubeconfig file. `namespace` is where everything goes."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        trust = ssl.create_default_context(cafile=cluster["certificate-authority"])
        trust.load_cert_chain(user["client-certificate"], user["client-key"])
        self._http = httpx.Client(base_url=cluster["server"], verify=trust, timeout=60, trust_env=False)
        self.namespace = namespace

    def __enter__(self) -> Api:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def create(self, document: Document, *, dry_run: bool = False) -> Answer:
        """With strict field validation, as kubectl asks for."""
        parameters = {"fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
        return self._send("POST", self._path(str(document["kind"])), document, parameters)

    def apply(self, document: Document, *, subresource: str = "") -> Answer:
        """Server-side apply; the resource is made if need be (not by a subresource)."""
        path = f"{self._path(str(document['kind']))}/{document['metadata']['name']}{subresource}"
        return self._send("PATCH", path, document,
                          {"fieldManager": "test", "force": "true", "fieldValidation": "Strict"},
                          content_type="application/apply-patch+yaml")

    def put_status(self, document: Document) -> Answer:
        """Replace the status. `document` is whole, as it was read."""
        path = f"{self._path(str(document['kind']))}/{document['metadata']['name']}/status"
        return self._send("PUT", path, document, {"fieldValidation": "Strict"})

    def get(self, kind: str, name: str) -> dict[str, Any]:
        answer = self._send("GET", f"{self._path(kind)}/{name}")
        assert answer.status == 200, answer
        return answer.body

    def raw(self, method: str, path: str, document: Document | None = None, *,
            content_type: str = "application/json", user: str = "") -> Answer:
        """`user`: as whom, instead of this client's own."""
        return self._send(method, path, document, content_type=content_type, user=user)

    def _path(self, kind: str) -> str:
        return f"/apis/{GROUP}/{VERSION}/namespaces/{self.namespace}/{PLURALS[kind]}"

    def _send(self, method: str, path: str, document: Document | None = None,
              parameters: Mapping[str, str] | None = None, content_type: str = "application/json",
              user: str = "") -> Answer:
        headers = {"Content-Type": content_type, **({"Impersonate-User": user} if user else {})}
        content = None if document is None else json.dumps(document)
        response = self._http.request(method, path, content=content, params=parameters,
                                      headers=headers)
        return Answer(response.status_code, response.json())
