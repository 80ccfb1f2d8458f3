"""One revision of one Model on this pod: its files, its place, its price, and how it fared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from paddock_api.canonical import short_hash
from paddock_api.errors import Code, PaddockError
from paddock_api.fields import parse_duration
from paddock_api.identity import ModelId
from paddock_api.model import LoadingPolicy
from paddock_api.revision import Revision
from paddock_api.state import FileFacts
from paddock_runtime.engine.types import AdapterFile, Charge, EngineType, Examined, Files
from paddock_runtime.lifecycle.failure import Failure, failed
from paddock_runtime.lifecycle.limits import Limits
from paddock_runtime.store import Artifact

ANYWHERE = "*"  # no namespace is called so


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The files are here, verified and read. `weights` and `context` name the engine and the context that may be
    shared with other Models: of the namespace, or of any, as their first part says."""

    artifacts: tuple[Artifact, ...]  # the weights, then the adapters in the order of the spec
    files: Files
    charge: Charge
    weights: str
    context: str

    def within(self, scope: str) -> Prepared:
        """The same, to be shared with the Models of `scope`: a namespace, or ANYWHERE."""
        if self.weights.startswith(f"{scope}/"):
            return self
        weights, context = (f"{scope}/{key.partition('/')[2]}" for key in (self.weights, self.context))
        return replace(self, weights=weights, context=context)


def prepared(model: ModelId, revision: Revision, engine_type: EngineType, artifacts: Sequence[Artifact]
             ) -> tuple[Prepared, Examined]:
    """Reads the file's header: call it off the event loop. Raises PaddockError."""
    weights_file, *adapter_files = artifacts
    adapters = tuple(
        AdapterFile(path=artifact.paths[0], digest=artifact.digest, size=artifact.size, scale=adapter.scale)
        for artifact, adapter in zip(adapter_files, revision.spec.engine.adapters, strict=True))
    files = Files(paths=weights_file.paths, digest=weights_file.digest, adapters=adapters)
    examined = engine_type.examine(files, revision)
    weights = f"{model.namespace}/{engine_type.name}/{engine_type.weights_key(files, revision)}"
    context = f"{weights}/{engine_type.context_key(files, revision)}"
    return Prepared(artifacts=tuple(artifacts), files=files, charge=examined.charge, weights=weights,
                    context=context), examined


@dataclass(eq=False)
class Target:
    """`fetching` while its files are fetched or verified; `progress` 0…1 of that, or of its load."""

    model: ModelId
    revision: Revision
    engine_type: EngineType
    prepared: Prepared | None = None
    facts: FileFacts | None = None  # of its file as it was last read, whether or not it may be used
    fetching: bool = False
    progress: float | None = None
    failure: Failure | None = None
    accidents: Failure | None = None  # what befell it while it served, until it has served well for a while
    proven: bool = False  # it served in this life of the pod
    references: dict[int, bytes] | None = None  # logits of the active revision by check, until it is verified
    verify_deaths: int = 0  # engines that died while they were asked its checks
    signature: object = None  # what the file looked like before it was last read
    _durations: dict[str, float] = field(default_factory=dict)

    def fail(self, error: PaddockError, *, limits: Limits, now: float, served: float | None = None) -> None:
        """`served`: seconds it was in memory before, if it was."""
        before = self.failure or self.accidents
        if served is not None and served >= limits.healthy_seconds:
            before = None
        self.failure = failed(error, before=before, limits=limits, now=now)
        if served is not None:
            self.accidents = self.failure

    @property
    def bad(self) -> bool:
        """Whether it failed for a fault of its own."""
        return self.failure is not None and self.failure.permanent

    def loaded(self) -> None:
        """In memory. What it answered wrong, it would answer wrong again."""
        if self.failure is None or self.failure.code is not Code.VERIFY_FAILED:
            self.failure = None

    @cached_property
    def checks_key(self) -> str:
        """Names its checks and what turns their chats into prompts."""
        spec = self.revision.spec
        return short_hash({"checks": [check.model_dump(mode="json") for check in spec.verify],
                           "template": spec.engine.chat_template, "system": spec.defaults.system_prompt})

    @property
    def context(self) -> str | None:
        return None if self.prepared is None else self.prepared.context

    @property
    def priority(self) -> int:
        return self.revision.spec.loading.priority

    @property
    def policy(self) -> LoadingPolicy:
        return self.revision.spec.loading.policy

    @property
    def idle_timeout(self) -> float:
        return self._seconds(self.revision.spec.loading.idle_timeout)

    @property
    def min_residency(self) -> float:
        return self._seconds(self.revision.spec.loading.min_residency)

    def _seconds(self, duration: str) -> float:
        if duration not in self._durations:
            self._durations[duration] = parse_duration(duration)
        return self._durations[duration]
