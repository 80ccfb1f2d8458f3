"""The Models of this pod: what is configured, what serves, who waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paddock_api.errors import Code, PaddockError
from paddock_api.identity import ModelId
from paddock_api.model import LoadingPolicy
from paddock_api.naming import Named, NameIndex
from paddock_api.pool import PoolConfig, PoolEntry
from paddock_api.revision import Revision
from paddock_api.state import Phase
from paddock_runtime.engine.types import EngineType
from paddock_runtime.lifecycle.returning import Return
from paddock_runtime.lifecycle.targets import ANYWHERE, Target
from paddock_runtime.scheduler import Popularity

if TYPE_CHECKING:
    from paddock_runtime.lifecycle.runs import Run


@dataclass(eq=False)
class Model:
    """`desired` is what the configuration asks for, `fallback` what was good before, `active` what is in memory.

    `asked`: a load was asked for without a request, since then. `asleep`: it was unloaded on request, and not even an
    assignment loads it before somebody asks. `returning`: it was in memory before a restart. `given_up`: how often in a
    row its load was, for nobody waited any more. Times are monotonic seconds.
    """

    id: ModelId
    entry: PoolEntry
    desired: Target
    fallback: Target | None = None
    active: Target | None = None
    queue: deque[Run] = field(default_factory=deque)
    asked: float | None = None
    returning: Return | None = None
    switching_since: float | None = None
    kept_since: float | None = None
    asleep: bool = False
    assigned: bool = False
    recording: bool = False  # what serves is asked what the candidate will be compared with: its load waits
    verifying: bool = False  # the candidate is in memory and asked its checks
    removed: bool = False
    phase: Phase = Phase.ABSENT
    told_progress: float | None = None
    told: tuple[object, ...] | None = None  # what else was told of it last
    leaving: str | None = None  # why it is being unloaded, while it is
    busy: int = 0
    loads: int = 0
    last_used: float | None = None
    last_tenant: str = ""  # who asked last
    given_up: int = 0
    popularity: Popularity = field(default_factory=Popularity)
    share: int | None = None  # bytes of measured memory that are its own, or its part of what it shares

    @property
    def salt(self) -> str:
        """Of prefixes that are the Model's own, for all its tenants. No tenant's salt is this one: those have a line
        break."""
        return str(self.id)

    @property
    def candidate(self) -> Target:
        """What a load would load: the desired revision, or the last good one if that is known to be bad."""
        good = self.fallback
        return self.desired if not self.desired.bad or good is None or good.bad else good

    @property
    def pinned(self) -> bool:
        return self.assigned and self.desired.policy is LoadingPolicy.PINNED

    def targets(self) -> list[Target]:
        """Each once."""
        targets = dict.fromkeys((self.desired, self.fallback, self.active))
        return [target for target in targets if target is not None]


class Registry:
    """Models by id, by the names that clients use, and by the context that serves or would serve them.

    `alone`: nobody assigns Models to pods, so the policy alone says what is kept loaded. `shared`: Models of all
    namespaces may use one copy of weights.
    """

    def __init__(self, engine_types: Iterable[EngineType], pod: str, *, alone: bool) -> None:
        self._types = {engine_type.name: engine_type for engine_type in engine_types}
        self.types = tuple(self._types.values())
        self._pod, self.alone = pod, alone
        self.shared = False
        self.models: dict[ModelId, Model] = {}
        self.leaving: set[Model] = set()  # removed from the configuration, still in memory
        self._users: dict[str, set[Model]] = {}
        self._contexts: dict[Model, set[str]] = {}
        self._names = NameIndex(())

    def resolve(self, name: str) -> ModelId:
        """Raises PaddockError MODEL_NOT_FOUND or AMBIGUOUS_MODEL."""
        return self._names.resolve(name)

    def get(self, model: ModelId) -> Model:
        """Raises PaddockError MODEL_NOT_FOUND."""
        found = self.models.get(model)
        if found is None:
            raise PaddockError(Code.MODEL_NOT_FOUND, f"there is no Model {model} here", param="model")
        return found

    def check(self, config: PoolConfig) -> None:
        """Raises PaddockError INVALID_SPEC when this pod can't run what is configured."""
        for key, entry in config.models.items():
            wanted = entry.desired.spec.engine.type
            if wanted not in self._types:
                raise PaddockError(Code.INVALID_SPEC, f"{key}: spec.engine.type {wanted!r} is not one of "
                                   f"{', '.join(sorted(self._types))}", param="spec.engine.type")

    def add(self, entry: PoolEntry) -> Model:
        model = Model(id=entry.id, entry=entry, desired=self._target(entry.id, entry.desired))
        for before in [each for each in self.leaving if each.id == entry.id]:
            model.phase = before.phase  # what was told of this name last; from now on one Model speaks for it
            self.left(before)
        self._configure(model, entry)
        self.models[model.id] = model
        return model

    def change(self, model: Model, entry: PoolEntry) -> None:
        """The new entry. What serves goes on serving; what needs no reload keeps what was prepared."""
        before = model.desired
        if entry.desired != before.revision:
            model.desired = self._target(model.id, entry.desired)
            if _same_files(before.revision, entry.desired):
                model.desired.prepared, model.desired.facts = before.prepared, before.facts
            if before.proven:
                model.fallback = before
            model.switching_since = None
        self._configure(model, entry)

    def fall_back_to(self, model: Model, good: Revision) -> None:
        """`good` was proven in an earlier life of the pod."""
        model.fallback = self._target(model.id, good)
        self.reindex(model)

    def remove(self, model: Model) -> None:
        model.removed = True
        del self.models[model.id]
        self.leaving.add(model)

    def left(self, model: Model) -> None:
        """A removed Model is out of memory, or there is one of its name again: nothing of it is kept."""
        self.leaving.discard(model)
        self._unlink(model)

    def rename(self) -> None:
        """After all changes of one configuration: clients find the Models by their names of now."""
        self._names = NameIndex(
            Named(model.id, tuple(model.desired.revision.spec.aliases)) for model in self.models.values())

    def regroup(self, model: Model, loaded: Container[str]) -> None:
        """Files are shared within the namespace, or with all. Who is in a context of `loaded` stays there."""
        scope = ANYWHERE if self.shared else model.id.namespace
        for target in model.targets():
            if target.prepared is not None and target.prepared.context not in loaded:
                target.prepared = target.prepared.within(scope)

    def users(self, context: str) -> set[Model]:
        """The Models that `context` serves or would serve."""
        return self._users.get(context, set())

    def reindex(self, model: Model) -> None:
        """After a target of `model` changed."""
        contexts = {target.context for target in model.targets() if target.context is not None}
        if contexts != self._contexts.get(model):
            self._unlink(model)
            self._contexts[model] = contexts
            for context in contexts:
                self._users.setdefault(context, set()).add(model)

    def everyone(self, do: Callable[[Model], None]) -> None:
        for model in [*self.models.values(), *self.leaving]:
            do(model)

    def _unlink(self, model: Model) -> None:
        for context in self._contexts.pop(model, ()):
            self._users[context].discard(model)
            if not self._users[context]:
                del self._users[context]

    def _configure(self, model: Model, entry: PoolEntry) -> None:
        model.entry = entry
        kept = entry.desired.spec.loading.policy is not LoadingPolicy.ON_DEMAND
        model.assigned = self._pod in entry.assigned or (self.alone and kept)
        good = entry.last_good
        if good is not None and good.id == entry.desired.id:
            model.fallback = None
        elif good is not None and (model.fallback is None or model.fallback.revision != good):
            active = model.active
            model.fallback = active if active is not None and active.revision == good else self._target(model.id, good)
        self.reindex(model)

    def _target(self, model: ModelId, revision: Revision) -> Target:
        # last_good may name a type that this version no longer has: it then fails like a bad revision would
        engine_type = self._types.get(revision.spec.engine.type) or next(iter(self._types.values()))
        return Target(model=model, revision=revision, engine_type=engine_type)


def _same_files(old: Revision, new: Revision) -> bool:
    """Whether what was prepared for `old` holds for `new`: same files, same load, and a template that was checked."""
    return (old.load_key == new.load_key and old.spec.source == new.spec.source
            and old.resolution.files == new.resolution.files
            and old.spec.engine.chat_template == new.spec.engine.chat_template)
