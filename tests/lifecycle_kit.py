"""A supervisor with real children in a test: Models from files, jobs, and a close look at what is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from paddock_api.errors import PaddockError
from paddock_api.events import Event
from paddock_api.identity import ModelId
from paddock_api.model import ModelSpec
from paddock_api.pool import PoolConfig, PoolEntry
from paddock_api.revision import Resolution, revision_of
from paddock_api.state import EngineState, ModelState, Phase
from paddock_runtime.bus import Bus
from paddock_runtime.engine.llamacpp import LlamaCpp
from paddock_runtime.engine.protocol import Sampling
from paddock_runtime.engine.types import Charge, EngineType, Examined, Files
from paddock_runtime.jobs import EmbedWork, GenerateWork, Job, Output, Served, Stream, Text, Vectors, Work
from paddock_runtime.lifecycle import Limits, Supervisor
from paddock_runtime.store import FileStore
from paddock_runtime.system.memory import pss_bytes

MIB = 1 << 20
PATIENCE = 60.0  # seconds: no test waits longer for anything; none relies on it


class Faulty(LlamaCpp):
    """The real child behind a launcher that can misbehave; see tests/faulty_child.py."""

    def __init__(self, *, grow_mib: int = 0, charge: Charge | None = None) -> None:
        self._grow_mib, self._charge = grow_mib, charge

    def command(self, fd: int) -> Sequence[str]:
        real = super().command(fd)
        return [real[0], "-m", "tests.faulty_child", str(self._grow_mib), str(fd)]

    def examine(self, files: Files, revision: Any) -> Examined:
        found = super().examine(files, revision)
        return found if self._charge is None else replace(found, charge=self._charge)


def entry(name: str, path: Path | None, *, namespace: str = "default", assigned: Iterable[str] = (),
          source: dict[str, Any] | None = None, **spec: Any) -> PoolEntry:
    """A Model on a local file. It may be evicted at once unless `loading` says else."""
    loading = {"minResidency": "0s", **spec.pop("loading", {})}
    spec = {"source": source or {"file": {"path": str(path)}}, "loading": loading, **spec}
    resolution = Resolution(files=[] if path is None else [str(path)])
    return PoolEntry(namespace=namespace, name=name, assigned=list(assigned),
                     desired=revision_of(ModelSpec.model_validate(spec), resolution))


def tiny_entry(name: str, path: Path, **spec: Any) -> PoolEntry:
    """A Model with a small cache: children of a few MiB."""
    engine = {"contextLength": 512, "cacheTokens": 1024, "parallel": 4, **spec.pop("engine", {})}
    return entry(name, path, engine=engine, **spec)


@dataclass
class Answer:
    """What a job brought."""

    outputs: list[Output] = field(default_factory=list)
    error: PaddockError | None = None

    @property
    def text(self) -> str:
        return "".join(output.delta.text for output in self.outputs if isinstance(output, Text))

    @property
    def code(self) -> str | None:
        return None if self.error is None else self.error.code.value

    @property
    def complete(self) -> bool:
        return self.error is None and any(
            isinstance(output, Vectors) or (isinstance(output, Text) and output.delta.finish is not None)
            for output in self.outputs)


class Pod:
    """One supervisor and the handles a test needs."""

    def __init__(self, supervisor: Supervisor, bus: Bus) -> None:
        self.supervisor, self.bus = supervisor, bus
        self.generation = 0
        self.entries: dict[str, PoolEntry] = {}

    def apply(self, *entries: PoolEntry) -> None:
        """A new generation with exactly these Models."""
        self.generation += 1
        self.entries = {str(each.id): each for each in entries}
        self.supervisor.apply(PoolConfig(generation=self.generation, models=self.entries))

    def job(self, model: str, prompt: str | list[int] = "Once upon a time", *, tokens: int = 8, hold: float = PATIENCE,
            deadline: float = PATIENCE, fingerprint: str | None = None, tenant: str = "t", work: Work | None = None,
            prepare: Callable[[Served], Awaitable[Work]] | None = None, choices: int = 1) -> Job:
        made = work or GenerateWork(prompt=prompt, max_tokens=tokens, choices=choices,
                                    sampling=Sampling(temperature=0.0, seed=1, ignore_eos=True))

        async def give(served: Served) -> Work:
            return made

        now = time.monotonic()
        return Job(model=_id(model), request_id=f"r{time.monotonic_ns()}", tenant=tenant,
                   fingerprint=fingerprint or f"f{time.monotonic_ns()}", hold_until=now + hold,
                   deadline=now + deadline, prepare=prepare or give)

    def submit(self, model: str, *arguments: Any, **options: Any) -> Stream:
        return self.supervisor.submit(self.job(model, *arguments, **options))

    async def ask(self, model: str, *arguments: Any, **options: Any) -> Answer:
        return await collect(self.submit(model, *arguments, **options))

    async def embed(self, model: str, *inputs: str) -> Answer:
        return await self.ask(model, work=EmbedWork(inputs=list(inputs)))

    def model(self, name: str) -> ModelState:
        wanted = _id(name)
        return next(state for state in self.supervisor.state().models if (state.namespace, state.name) == wanted)

    def phase(self, name: str) -> Phase:
        return self.model(name).phase

    @property
    def engines(self) -> list[EngineState]:
        return self.supervisor.state().engines

    @property
    def pids(self) -> list[int]:
        return [engine.pid for engine in self.engines if engine.pid is not None]

    def events(self, kind: str, model: str | None = None) -> list[Event]:
        return [event for event in self.bus.history
                if event.type.value == kind and (model is None or event.model == f"default/{model}")]

    def phases(self, model: str) -> list[str]:
        return [event.data["to"] for event in self.events("phase", model)]


def _id(name: str) -> ModelId:
    return ModelId.parse(name if "/" in name else f"default/{name}")


async def collect(stream: Stream) -> Answer:
    answer = Answer()
    try:
        async for output in stream:
            answer.outputs.append(output)
    except PaddockError as error:
        answer.error = error
    return answer


async def first_text(stream: Stream) -> Text:
    """Reads on to the first content."""
    async for output in stream:
        if isinstance(output, Text) and output.delta.text:
            return output
    raise AssertionError("the stream ended before any text")


async def until(condition: Callable[[], bool], what: str = "the condition") -> None:
    """Waits for `condition`, at most PATIENCE seconds."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, f"{what} did not come about"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def running(tmp_path: Path, *, memory: int = 4096 * MIB, types: Sequence[EngineType] = (),
                  limits: Limits | None = None, **options: Any) -> AsyncIterator[Pod]:
    """A started pod; at the end no child of it is left."""
    limits = limits or quick()
    bus = Bus()
    store = FileStore(tmp_path / "store", reserve_bytes=0)
    supervisor = Supervisor(store, types or [LlamaCpp()], bus, memory_bytes=memory, limits=limits, **options)
    pod = Pod(supervisor, bus)
    await supervisor.start()
    try:
        yield pod
    finally:
        pids = pod.pids
        await supervisor.close()
        assert [pid for pid in pids if alive(pid)] == [], "children outlived their supervisor"


def alive(pid: int) -> bool:
    """Whether the process is there, also as a zombie."""
    return Path(f"/proc/{pid}").exists()


def children() -> set[int]:
    """Our child processes, zombies included; but those of an API server that lives as long as all tests."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread may end while we look
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return {pid for pid in found if not _of_the_api_server(pid)}


def _of_the_api_server(pid: int) -> bool:
    try:
        program = Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]
    except OSError:
        return False
    return program.rpartition(b"/")[2] in (b"etcd", b"kube-apiserver", b"kube-controller-manager")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def total_pss(pids: Iterable[int]) -> int:
    return sum(pss_bytes(pid) or 0 for pid in pids)


def quick(**changes: Any) -> Limits:
    """The limits, with those that a test shortens. Without spare children, so that children can be counted."""
    return replace(Limits(spare_idle=0.0), **changes)
