"""Which contexts of a child keep their prompts on disk, when they may write, and who leaves once it has written."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from paddock_runtime.engine.llama.generator import Generator
from paddock_runtime.engine.llama.keeper import Keeper
from paddock_runtime.engine.protocol import PromptFolder

LEAVING_SECONDS = 1.0  # for the last writes of a context: somebody may wait for its memory


class WriteBehind:
    """The decode thread calls all of it. `say` is told what went wrong."""

    def __init__(self, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prompts")
        self._staying: dict[int, Generator] = {}
        self._leaving: dict[int, tuple[Generator, float, Callable[[], None]]] = {}

    @property
    def keeping(self) -> bool:
        """Whether somebody may have something to write."""
        return bool(self._staying or self._leaving)

    @property
    def leaving(self) -> bool:
        return bool(self._leaving)

    def keep(self, generator: Generator, folder: PromptFolder) -> None:
        try:
            generator.keeper = Keeper(generator.context, generator.holdings, folder, self._executor, self._say)
        except OSError as error:
            self._say(f"prompt caches can't be kept in {folder.folder}: {error.strerror or error}")
            return
        self._staying[generator.number] = generator

    def leave(self, generator: Generator, then: Callable[[], None]) -> None:
        """Ends its requests and calls `then` when what it holds is written, or after LEAVING_SECONDS."""
        generator.leave()
        if self._staying.pop(generator.number, None) is None:
            then()
        else:
            self._leaving[generator.number] = generator, self._clock() + LEAVING_SECONDS, then

    def leave_all(self) -> None:
        for generator in list(self._staying.values()):
            self.leave(generator, lambda: None)

    def work(self, *, busy: bool) -> float | None:
        """Lets each begin a write that is due. Seconds until it should be called again; None: after the next step."""
        waits = list[float]()
        for number, (generator, deadline, then) in list(self._leaving.items()):
            left = generator.keeper.work(busy=busy, leaving=True) if generator.keeper is not None else None
            if left is None or self._clock() >= deadline:
                del self._leaving[number]
                then()
            else:
                waits.append(left)
        for generator in self._staying.values():
            left = generator.keeper.work(busy=busy) if generator.keeper is not None else None
            if left is not None:
                waits.append(left)
        return min(waits, default=None)
