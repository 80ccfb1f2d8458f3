"""kubectl, with its answers as values."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Resource = Mapping[str, Any]


class KubectlError(Exception):
    """What kubectl complained about."""


class Kubectl:
    """Calls of one program with one kubeconfig; `namespace` is where it works unless told otherwise."""

    def __init__(self, program: Path, kubeconfig: Path, namespace: str = "default") -> None:
        self.program, self.kubeconfig, self.namespace = program, kubeconfig, namespace

    def within(self, namespace: str) -> Kubectl:
        return Kubectl(self.program, self.kubeconfig, namespace)

    def command(self, *arguments: str) -> list[str]:
        return [str(self.program), f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *arguments]

    def __call__(self, *arguments: str, input: str = "", timeout: float = 120.0) -> str:
        """What it printed. Raises KubectlError with its complaint."""
        done = self.attempt(*arguments, input=input, timeout=timeout)
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)[:500]}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def attempt(self, *arguments: str, input: str = "", timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """For a call that may be refused."""
        return subprocess.run(
            self.command(*arguments), input=input, capture_output=True, text=True, check=False, timeout=timeout
        )

    def apply(self, *resources: Resource) -> None:
        """Server-side, as the field manager `e2e`."""
        self("apply", "--server-side", "--field-manager=e2e", "-f", "-", input=_together(resources))

    def delete(self, *resources: Resource, wait: bool = True) -> None:
        self("delete", "--ignore-not-found", f"--wait={str(wait).lower()}", "-f", "-", input=_together(resources))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("get", kind, name, "-o=json"))
        return found

    def list(self, kind: str, selector: str = "", *, everywhere: bool = False) -> list[dict[str, Any]]:
        where = ["--all-namespaces"] if everywhere else []
        found = json.loads(self("get", kind, f"--selector={selector}", "-o=json", *where))
        items: list[dict[str, Any]] = found["items"]
        return items

    def wait(self, what: str, condition: str, within: float = 120.0, *, everything: bool = False) -> None:
        """`condition` as in `--for=`: `condition=Ready`, `delete`, `jsonpath={.status.phase}=Running`. `everything`:
        all of the kind `what`."""
        all_of_it = ["--all"] if everything else []
        self("wait", what, f"--for={condition}", f"--timeout={within:.0f}s", *all_of_it, timeout=within + 30)

    def rolled_out(self, what: str, within: float = 180.0) -> None:
        self("rollout", "status", what, f"--timeout={within:.0f}s", timeout=within + 30)


def _together(resources: Sequence[Resource]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(resources)})
