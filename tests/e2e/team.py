"""Models as a team declares them in its namespace, and what the cluster tells of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from paddock_api.identity import ModelId
from paddock_api.rendezvous import order
from tests.e2e.kubectl import Kubectl
from tests.e2e.recipes import tiny_repository
from tests.e2e.release import Release
from tests.e2e.waiting import eventually


def model(name: str, number: int = 0, **spec: Any) -> dict[str, Any]:
    """One with the random weights of that number, from the hub. `spec` adds and replaces fields."""
    source = {"huggingFace": {"repo": tiny_repository(number)}}
    return {"apiVersion": "paddock.dev/v1alpha1", "kind": "Model", "metadata": {"name": name},
            "spec": {"source": source, **spec}}


class Team:
    """`kubectl` works in the team's namespace."""

    def __init__(self, kubectl: Kubectl, release: Release) -> None:
        self.kubectl, self.release = kubectl, release

    @property
    def namespace(self) -> str:
        return self.kubectl.namespace

    def declare(self, *models: dict[str, Any]) -> None:
        """Applies them, and waits until they can be asked for and every pod knows them."""
        self.kubectl.apply(*models)
        for each in models:
            self.servable(each["metadata"]["name"])

    def servable(self, name: str) -> None:
        self.kubectl.wait(f"model/{name}", "condition=Ready")
        count = len(self.release.pods("runtime"))
        eventually(lambda: len(self.release.held(self.namespace, name)) == count,
                   lambda: f"{name} is known to {list(self.release.held(self.namespace, name))}")

    def change(self, name: str, **spec: Any) -> None:
        self.kubectl("patch", "model", name, "--type=merge", f"--patch={json.dumps({'spec': spec})}")

    def id(self, name: str) -> str:
        """As clients name it exactly."""
        return f"{self.namespace}/{name}"

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.kubectl.get("model", name).get("status", {})
        return found

    def conditions(self, name: str) -> dict[str, tuple[str, str]]:
        """(status, reason) by type."""
        return {each["type"]: (each["status"], each["reason"]) for each in self.status(name).get("conditions", ())}

    def becomes(self, name: str, **wanted: tuple[str, str]) -> None:
        """Waits for conditions: `Loaded=("True", "Loaded")`."""
        self.until(name, lambda found: wanted.items() <= found.items())

    def until(self, name: str, holds: Callable[[dict[str, tuple[str, str]]], bool]) -> None:
        eventually(lambda: holds(self.conditions(name)), lambda: self.conditions(name))

    def told(self, name: str) -> list[str]:
        """The reasons of its events, oldest first."""
        found = self.kubectl("get", "events", f"--field-selector=involvedObject.kind=Model,involvedObject.name={name}",
                             "-o=json")
        events = sorted(json.loads(found)["items"], key=lambda each: int(each["metadata"]["resourceVersion"]))
        return [each["reason"] for each in events]

    def described(self, name: str) -> Description:
        return Description(self.kubectl("describe", "model", name))

    def placed(self, pod: str, count: int) -> list[str]:
        """Names of Models that go to `pod` first, while nobody has them."""
        pods = [each["metadata"]["name"] for each in self.release.pods("runtime")]
        names = (f"model-{number}" for number in range(1000))
        return [name for name in names if order(ModelId(self.namespace, name), pods)[0] == pod][:count]


class Description:
    """What `kubectl describe` prints."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.above, _, events = text.partition("\nEvents:")
        self.events = [line.split(maxsplit=4) for line in events.splitlines()[3:]]

    @property
    def reasons(self) -> set[str]:
        """Of the events. Those of one second are listed in no order."""
        return {event[1] for event in self.events}

    def says(self, message: str) -> bool:
        """Among the conditions and among the events."""
        return all(message in " ".join(part.split()) for part in (self.above, self.text.removeprefix(self.above)))
