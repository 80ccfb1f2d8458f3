"""What can be done to a cluster of plain processes: its parts stopped, its containers frozen."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.cluster import containers, lifecycle

_API_SERVER = "kube-apiserver"
# Elsewhere these lose their own Leases and begin anew. Here they have none, and what they remember from before would
# be wrong: the node's last sign of life is an outage ago, so they would take all pods out of their Services.
_LED_BY_LEASE = ("kube-controller-manager", "kube-scheduler")


@contextmanager
def no_api_server() -> Iterator[None]:
    """Connections to it are refused; what it stored is there again afterwards."""
    lifecycle.daemons.stop(*_LED_BY_LEASE, _API_SERVER)
    try:
        yield
    finally:
        for name in (_API_SERVER, *_LED_BY_LEASE):
            lifecycle.restart(name)


@contextmanager
def frozen(pod: Mapping[str, Any]) -> Iterator[None]:
    """The main process of a pod's only container stands still, its connections open."""
    [container] = pod["status"]["containerStatuses"]
    pid = containers.pid(lifecycle.FOLDER, container["containerID"])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # a probe may have had it killed: the test will see that
            os.kill(pid, signal.SIGCONT)
