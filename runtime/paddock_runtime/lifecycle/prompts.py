"""Where the children of this pod keep idle prompts on disk, how much that may take, and whose go."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from paddock_api.identity import ModelId
from paddock_runtime.engine.promptfiles import digest, sweep
from paddock_runtime.engine.protocol import PromptFolder
from paddock_runtime.lifecycle.limits import Limits
from paddock_runtime.lifecycle.models import Model

_log = logging.getLogger(__name__)


class PromptCaches:
    """`folder` may be shared with other processes: what is not known here is left to them and to the budget.

    Children write; each keeps the budget. Here only what is out of use is deleted. Raises OSError when `folder` can't
    be made."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._limits = folder, limits
        share = int(shutil.disk_usage(folder).free * limits.prompt_disk_share)
        given = limits.prompt_disk_bytes
        self.budget_bytes = min(limits.prompt_disk_most, share) if given is None else given
        self._tasks: set[asyncio.Task[None]] = set()
        self._tidied: dict[ModelId, set[str] | None] = {}  # the contexts of each Model when that was done last

    def of(self, context: str) -> PromptFolder | None:
        """For the context with this key: it names weights and options. None: nothing is kept."""
        if not self.budget_bytes:
            return None
        return PromptFolder(
            folder=str(self._folder), key=context, budget_bytes=self.budget_bytes,
            write_seconds=self._limits.prompt_write_seconds, least_tokens=self._limits.prompt_least_tokens)

    def tidy(self, models: Iterable[Model] = (), *, removed: Iterable[ModelId] = ()) -> None:
        """Soon deletes what was kept for `removed` ones, and of `models` what no revision of theirs can use."""
        wanted: dict[ModelId, set[str] | None] = {
            model.id: keys for model in models if (keys := contexts(model)) != self._tidied.get(model.id)}
        self._tidied.update(wanted)
        for model in removed:
            wanted[model] = set()
            self._tidied.pop(model, None)
        if not wanted:
            return
        keeps = keeper(wanted)
        task = asyncio.create_task(self._sweep(keeps), name="tidy prompt caches")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        await asyncio.gather(*self._tasks)

    async def _sweep(self, keeps: Callable[[str, str], bool]) -> None:
        try:
            await asyncio.to_thread(sweep, self._folder, keeps, budget_bytes=self.budget_bytes)
        except OSError as error:
            _log.warning("prompt caches could not be tidied: %s", error)


def contexts(model: Model) -> set[str] | None:
    """The keys of the contexts that its revisions may run in; None when that is not known of each."""
    known = {target.context for target in model.targets() if target.context is not None}
    return known if all(target.context is not None for target in model.targets()) else None


def keeper(wanted: dict[ModelId, set[str] | None]) -> Callable[[str, str], bool]:
    """What `sweep` asks: whether a file stays, given the digests of its context's key and of its Model."""
    known = {digest(str(model)): None if keys is None else {digest(key) for key in keys}
             for model, keys in wanted.items()}

    def keeps(context: str, model: str) -> bool:
        keys = known.get(model)
        return keys is None or context in keys

    return keeps
