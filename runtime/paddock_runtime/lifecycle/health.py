"""Whether this pod's own machinery still works: what `/livez` answers. A pod that does not is to be restarted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from paddock_runtime.lifecycle.units import Engine


class Health:
    """Each part says when it last did its work to the end; one that is silent for too long is wedged.

    A blocked event loop needs no heartbeat: then nobody answers the probe. `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._patience: dict[str, float] = {}
        self._beats: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: dict[int, tuple[Engine, float]] = {}

    def expect(self, part: str, patience: float, now: float) -> None:
        """`part` beats at least each `patience` seconds from now on."""
        self._patience[part], self._beats[part] = patience, now

    def watch(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        """None of them ever ends while the pod lives."""
        self._tasks = list(tasks)

    def beat(self, part: str, now: float) -> None:
        self._beats[part] = now

    def forgive(self, lag: float) -> None:
        """We were stopped for `lag` seconds ourselves: nobody could beat."""
        self._beats = {part: beat + lag for part, beat in self._beats.items()}
        self._ending = {key: (engine, since + lag) for key, (engine, since) in self._ending.items()}

    def see(self, engines: Iterable[Engine], now: float) -> None:
        """Remembers since when children are to end."""
        self._ending = {id(engine): self._ending.get(id(engine), (engine, now)) for engine in engines
                        if engine.ending}

    def problem(self, now: float, *, end_patience: float) -> str | None:
        """What is wrong, in words; None when nothing is."""
        ended = next((task for task in self._tasks if task.done()), None)
        if ended is not None:
            return f"the task {ended.get_name()!r} has ended"
        for part, patience in self._patience.items():
            silent = now - self._beats[part]
            if silent > patience:
                return f"{part} did nothing for {silent:.0f} s"
        for engine, since in self._ending.values():
            if now - since > end_patience:
                return f"the engine of process {engine.pid} does not end: the kernel holds it for {now - since:.0f} s"
        return None
