"""A new configuration, applied: what is added, changed and removed."""

from __future__ import annotations

from paddock_api.errors import Code, PaddockError
from paddock_api.events import EventType
from paddock_api.model import LoadingPolicy
from paddock_api.pool import PoolConfig, config_hash, diff
from paddock_api.pool_settings import PoolSettings, read_settings
from paddock_runtime.lifecycle.core import Core
from paddock_runtime.lifecycle.models import Model


class Configuration:
    """The one in force. The newest generation wins; one that can't be used leaves the last good in force."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._config: PoolConfig | None = None
        self._newest = -1
        self.hash = ""
        self.error: str | None = None

    @property
    def generation(self) -> int:
        return 0 if self._config is None else self._config.generation

    def apply(self, config: PoolConfig) -> None:
        """Takes it into force, all of it or nothing. Raises PaddockError INVALID_SPEC; an old one is let go by."""
        if config == self._config:
            self.error = None  # a newer one that could not be used was taken back
        if config.generation < self._newest or config == self._config:
            return
        self._newest = config.generation
        try:
            self._core.registry.check(config)
        except PaddockError as error:
            self.reject(config.generation, error.message)
            raise
        changes = diff(self._config, config)
        self._config, self.hash, self.error = config, config_hash(config), None
        registry = self._core.registry
        touched = [registry.add(entry) for entry in changes.added]
        for model in touched:
            self._core.past.recall(registry, model)
        for change in changes.changed:
            model = registry.models[change.model]
            before = model.targets()
            registry.change(model, change.new)
            for target in before:
                if target not in model.targets():
                    self._core.fetcher.stop(target)
            touched.append(model)
        removed = [registry.models[entry.id] for entry in changes.removed]
        for model in removed:
            registry.remove(model)
        registry.rename()
        self._take_settings(read_settings(config.settings))
        self._core.bus.publish(EventType.CONFIG, generation=config.generation, hash=self.hash)
        for model in touched:
            self._core.past.accepted(model)
            self._prepare(model)
        for model in removed:
            self._remove(model)
        self._core.poke()

    def reject(self, generation: int, message: str) -> None:
        """A configuration that could not even be read: what is in force stays, and `/state` says why."""
        self._newest = max(self._newest, generation)
        self.error = f"generation {generation}: {message}"
        self._core.bus.publish(EventType.CONFIG, generation=generation, hash=self.hash, error=message)

    def _take_settings(self, settings: PoolSettings) -> None:
        core = self._core
        core.foresight.configure(settings, core.registry.models.keys())
        if core.registry.shared != settings.share_across_namespaces:
            core.registry.shared = settings.share_across_namespaces
            for model in core.registry.models.values():
                core.registry.regroup(model, core.pool.units)
                core.settle(model)

    def _prepare(self, model: Model) -> None:
        """Local files are verified in the background; others are fetched on demand, or early if so configured."""
        target = model.desired
        if target.prepared is None and target.failure is None:
            early = target.policy is not LoadingPolicy.ON_DEMAND and model.assigned
            if early or target.revision.spec.source.file is not None:
                self._core.fetcher.start(target, urgent=False)
            else:
                self._core.fetcher.look(target)
        elif target.prepared is None and not target.bad:  # it failed in an earlier life, for what may pass
            self._core.fetcher.look(target)
        self._core.settle(model)

    def _remove(self, model: Model) -> None:
        for target in model.targets():
            self._core.fetcher.stop(target)
        self._core.dispatcher.refuse_waiting(model, lambda: PaddockError(
            Code.MODEL_NOT_FOUND, f"the Model {model.id} was removed", param="model"))
        self._core.settle(model)
