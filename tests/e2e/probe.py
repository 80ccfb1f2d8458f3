"""A client that goes on asking while things happen to the cluster, and what became of its requests."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.e2e import pods
from tests.e2e.kubectl import Kubectl
from tests.e2e.waiting import eventually


@dataclass(frozen=True)
class Probe:
    """`count`: how many requests it makes in turns."""

    kubectl: Kubectl
    pod: str
    count: int

    def answers(self) -> list[int]:
        """How many of each request were answered well so far. Fails if one was not."""
        found = [0] * self.count
        bad = []
        for line in self.kubectl("logs", f"pod/{self.pod}").splitlines():
            told = json.loads(line)
            found[told["request"]] += 1
            if told["fault"]:
                bad.append(told)
        assert not bad, f"{len(bad)} of {sum(found)} requests failed: {bad[:5]}"
        return found

    def goes_on(self, more: int = 3) -> None:
        """Waits until each request was answered `more` times from now on."""
        wanted = [count + more for count in self.answers()]
        eventually(lambda: all(has >= want for has, want in zip(self.answers(), wanted, strict=True)),
                   lambda: f"{self.answers()} answers; wanted {wanted}")


@contextmanager
def probing(
    tools: Kubectl, image: str, requests: Sequence[Mapping[str, Any]], *, begun: int | None = None
) -> Iterator[Probe]:
    """Begins when each request (the first `begun` of them) was answered once. At the end all must have been answered
    well."""
    name = f"probe-{secrets.token_hex(3)}"
    tools.apply(pods.python(name, image, ["-m", "tests.e2e.prober", json.dumps(list(requests))]))
    probe = Probe(tools, name, len(requests))
    first = len(requests) if begun is None else begun
    try:
        tools.wait(f"pod/{name}", "condition=Ready")
        eventually(lambda: all(probe.answers()[:first]), probe.answers)
        yield probe
        probe.goes_on()
    finally:
        tools("delete", "pod", name, "--force", "--grace-period=0", "--wait=false")
