"""Requests from inside of the cluster, as a user's pod makes them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.kubectl import Kubectl


@dataclass(frozen=True)
class Answer:
    """`status` 0 and `error` when there was none. `lines`: (seconds since the request, line), with `read_lines`."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    lines: Sequence[tuple[float, str]] = ()
    error: str = ""
    seconds: float = 0.0

    def json(self) -> Any:
        return json.loads(self.text)


class Client:
    """Sends by way of `kubectl exec` in a pod of the tools image."""

    def __init__(self, kubectl: Kubectl, pod: str) -> None:
        self._kubectl, self._pod = kubectl, pod

    def ask(self, url: str, body: Any = None, *, headers: Mapping[str, str] | None = None, **more: Any) -> Answer:
        """GET, or POST when there is a body. `more`: method, text, timeout, read_lines, pause_after (see agent.py)."""
        return self.ask_all([request(url, body, headers=headers, **more)])[0]

    def ask_all(self, requests: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """All at once; the answers in the requests' order."""
        return self.begin(requests).answers()

    def begin(self, requests: Sequence[Mapping[str, Any]]) -> Asking:
        """The same in the background."""
        command = self._kubectl.command("exec", "-i", self._pod, "--", "python", "-m", "tests.e2e.agent")
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(list(requests)) + "\n")
        process.stdin.flush()
        return Asking(process, max((float(one.get("timeout", 60.0)) for one in requests), default=60.0))


@dataclass
class Asking:
    """Requests on their way."""

    process: subprocess.Popen[str]
    longest: float

    def until_paused(self) -> None:
        """Those with `pause_after` have read so many lines, and read no more until `answers` is called."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line != "paused\n":
            self.process.kill()
            raise AssertionError(f"the client in the cluster failed: {line}{self.process.communicate()[1][-2000:]}")

    def answers(self) -> list[Answer]:
        try:
            out, complaint = self.process.communicate(input="\n", timeout=self.longest + 60)
        except BaseException:
            self.process.kill()
            self.process.communicate()
            raise
        if self.process.returncode:
            raise AssertionError(f"the client in the cluster failed: {complaint.strip()[-2000:]}")
        return [Answer(**one) for one in json.loads(out)]


def request(url: str, body: Any = None, *, headers: Mapping[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """One for `Client.ask_all`."""
    method = "GET" if body is None and "text" not in more else "POST"
    return {"method": method, "url": url, "json": body, "headers": dict(headers or {}), **more}
