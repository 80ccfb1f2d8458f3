"""Models, pools and reports for tests of what the operator decides."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from paddock_api.manifest import parse
from paddock_api.model import Model
from paddock_api.revision import Resolution, Revision, revision_of
from paddock_api.runtime_pool import RuntimePool
from paddock_api.state import Failure, Memory, ModelState, Phase, PodState
from paddock_api.status import ModelFacts, ModelStatus
from paddock_operator.model.decide import document
from paddock_operator.model.inputs import Input, Pinned
from paddock_operator.model.picture import picture
from paddock_operator.pods.reports import ModelReports, PodReport
from paddock_operator.pods.view import Left

GOLDEN = Path(__file__).parent / "golden"
GIB = 1 << 30
DIGEST = "ab" * 32
NOW = 1_790_000_000.0


def golden(name: str, found: Any) -> None:
    """`found` is what golden/`name`.yaml says. PADDOCK_WRITE_GOLDENS=1 writes it instead."""
    file = GOLDEN / f"{name}.yaml"
    text = yaml.safe_dump(found, sort_keys=False, width=120)
    if os.environ.get("PADDOCK_WRITE_GOLDENS") == "1":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert yaml.safe_load(text) == yaml.safe_load(file.read_text())


def model(name: str = "gemma", namespace: str = "team-a", status: ModelStatus | None = None, **spec: Any) -> Model:
    spec = {"source": {"http": {"url": "https://files.example/gemma.gguf", "sha256": DIGEST}}, **spec}
    return parse(Model, {
        "apiVersion": "paddock.dev/v1alpha1", "kind": "Model",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}", "generation": 3,
                     "annotations": spec.pop("annotations", {})},
        "spec": spec, **({"status": document(status)} if status is not None else {})}, with_status=True)


def pool(name: str = "default", namespace: str = "paddock-system", **spec: Any) -> RuntimePool:
    return parse(RuntimePool, {
        "apiVersion": "paddock.dev/v1alpha1", "kind": "RuntimePool",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}", "generation": 1},
        "spec": {"memory": "8Gi", **spec}}, with_status=True)


def revision(given: Model, digest: str = DIGEST) -> Revision:
    return revision_of(given.spec, Resolution(sha256=digest, size=253_000_000, files=["https://files.example/g"]))


FACTS = ModelFacts(file="gemma.gguf", sha256=DIGEST, size_bytes=253_000_000, architecture="gemma3",
                   quantization="Q4_K_M")


def state(phase: Phase, given: Model, *, revision_id: str | None = None, failure: tuple[str, str] | None = None,
          **more: Any) -> ModelState:
    found = None if failure is None else Failure(reason=failure[0], message=failure[1], at=NOW)
    return ModelState(namespace=given.metadata.namespace, name=given.metadata.name, phase=phase, failure=found,
                      revision=revision_id or revision(given).id, **more)


def reports(*pods: ModelState | None, left: str | None = None, pending: bool = False) -> ModelReports:
    """One pod a state; None for a pod that reports, but not of the Model."""
    why = None if left is None else Left(left, NOW)
    return ModelReports(tuple(PodReport(f"default-runtime-{number}", "hash", each, why)
                              for number, each in enumerate(pods)), pending)


def given(subject: Model, reported: ModelReports | None = None, **more: Any) -> Input:
    """A resolved Model in a pool that lets it in."""
    wanted = revision(subject)
    seen = picture(reported or ModelReports(), wanted.id, lambda _: True)
    return Input(**{"model": subject, "refusal": None, "outcome": Pinned(wanted.id, FACTS, GIB), "picture": seen,
                    "budget": 8 * GIB, "pool_replicas": 2, "now": NOW,
                    "last_good": wanted.id if seen.proven else None, **more})


def pod_state(*models: ModelState, pod: str = "default-runtime-0", sequence: int = 1, epoch: str = "e1",
              config_hash: str = "hash") -> PodState:
    return PodState(pod=pod, epoch=epoch, sequence=sequence, version="1", config_generation=1, config_hash=config_hash,
                    memory=Memory(budget_bytes=8 * GIB, charged_bytes=0, measured_bytes=0), models=list(models),
                    engines=[])
