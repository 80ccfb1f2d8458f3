"""What a person would look at after a failure: pods, events, descriptions and logs of some namespaces."""

from __future__ import annotations

from collections.abc import Iterable

from tests.e2e.kubectl import Kubectl

_LINES = 60


def tell(kubectl: Kubectl, namespaces: Iterable[str]) -> str:
    """Never raises for what kubectl answers: a cluster that is gone is part of the story."""
    parts = [_part(kubectl, "get", "pods", "--all-namespaces", "-o=wide")]
    for name in sorted(namespaces):
        within = kubectl.within(name)
        parts.append(_part(within, "get", "all,configmaps"))
        parts.append(_part(within, "get", "events", "--sort-by=.lastTimestamp"))
        parts += [_part(within, "describe", kind) for kind in ("pods", "models", "runtimepools")]
        for pod in within.attempt("get", "pods", "-o=name").stdout.split():
            parts.append(_part(within, "logs", pod, "--all-containers", f"--tail={_LINES}"))
            if (before := within.attempt("logs", pod, "--previous", f"--tail={_LINES}")).returncode == 0:
                parts.append(f"--- {pod}, before its restart\n{before.stdout}")
    return "\n".join(parts)


def _part(kubectl: Kubectl, *arguments: str) -> str:
    done = kubectl.attempt(*arguments)
    return f"--- kubectl -n {kubectl.namespace} {' '.join(arguments)}\n{done.stdout}{done.stderr}"
