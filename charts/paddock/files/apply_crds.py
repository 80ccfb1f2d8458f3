"""Brings the custom resource definitions of this chart into the cluster. Standard library only.

    python apply_crds.py FOLDER

FOLDER holds them as NAME.json. One that is there gets this spec in place of its own (an apply would keep fields that
were dropped, as long as somebody else had set them too); its metadata stays. Reaches the API server as the pod's
service account. Exits with 1 and the API server's words when one is refused.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path(os.environ.get("PADDOCK_ACCOUNT") or "/var/run/secrets/kubernetes.io/serviceaccount")
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
# While the API server is away or busy, in seconds.
PATIENCE = 60.0
PASSING = (409, 429, 500, 502, 503, 504)


def server() -> str:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def send(method: str, path: str, body: object, content_type: str) -> None:
    """Raises HTTPError and OSError."""
    request = urllib.request.Request(
        server() + path, data=json.dumps(body).encode(), method=method,
        headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text().strip()}", "Content-Type": content_type})
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=30, context=trust) as answer:
        answer.read()


def bring(name: str, document: dict[str, object]) -> str:
    """What was done. Raises HTTPError and OSError."""
    try:
        send("PATCH", f"{DEFINITIONS}/{name}", [{"op": "replace", "path": "/spec", "value": document["spec"]}],
             "application/json-patch+json")
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        send("POST", DEFINITIONS, document, "application/json")
        return "made"
    return "brought up to date"


def complaint(error: OSError) -> str:
    if not isinstance(error, urllib.error.HTTPError):
        return str(error)
    text = error.read().decode(errors="replace")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.code} {text[:500]}"


def bring_patiently(name: str, document: dict[str, object], deadline: float) -> str:
    """Raises HTTPError and OSError once `deadline` has passed, or at once when waiting can't help."""
    while True:
        try:
            return bring(name, document)
        except OSError as error:
            passing = not isinstance(error, urllib.error.HTTPError) or error.code in PASSING
            if not passing or time.monotonic() > deadline:
                raise
        time.sleep(1)


def main(folder: Path) -> int:
    deadline = time.monotonic() + PATIENCE
    for path in sorted(folder.glob("*.json")):
        try:
            done = bring_patiently(path.stem, json.loads(path.read_text()), deadline)
        except OSError as error:
            print(f"{path.stem} can't be brought up to date: {complaint(error)}", file=sys.stderr)
            return 1
        print(f"{path.stem} {done}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
