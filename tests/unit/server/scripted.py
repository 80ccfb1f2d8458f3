"""A Service whose jobs follow a script: the wire format is tested without any engine."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

from paddock_api.errors import Code, PaddockError
from paddock_api.identity import ModelId
from paddock_api.model import ModelSpec
from paddock_api.revision import Resolution, Revision
from paddock_api.state import Memory, ModelState, Phase, PodState
from paddock_runtime.bus import Bus
from paddock_runtime.engine.protocol import Delta, ModelFacts, Usage
from paddock_runtime.jobs import Accepted, Job, Output, Served, Text, Work

GEMMA = ModelId("default", "gemma")
Step = Output | PaddockError | float  # a number waits so many seconds


def facts(*, memory_class: str = "full", chat_template: str | None = "template") -> ModelFacts:
    return ModelFacts(architecture="gemma3", memory_class=memory_class, description="test", parameters=1,
                      weights_bytes=1, trained_context=512, embedding_length=2, vocabulary=1000, pooling="none",
                      chat_template=chat_template, bos_token="<bos>", eos_token="<eos>", add_bos=True)


def served(*, memory_class: str = "full", chat_template: str | None = "template", **spec: object) -> Served:
    full = ModelSpec.model_validate({"source": {"file": {"path": "x.gguf"}}, **spec})
    revision = Revision(id="rev-1", load_key="load-1", spec=full, resolution=Resolution())
    return Served(model=GEMMA, revision=revision, facts=facts(memory_class=memory_class, chat_template=chat_template),
                  context_length=512)


def accepted(choice: int = 0) -> Accepted:
    return Accepted(choice=choice, served=served(), prompt_tokens=5, cached_tokens=2)


def text(piece: str, choice: int = 0) -> Text:
    return Text(choice=choice, delta=Delta(id=1, text=piece, tokens=1))


def last(piece: str = "", choice: int = 0, *, finish: str = "stop", tokens: int = 3, cached: int = 2) -> Text:
    usage = Usage(prompt_tokens=5, cached_tokens=cached, completion_tokens=tokens)
    return Text(choice=choice, delta=Delta(id=1, text=piece, tokens=1, finish=finish, usage=usage))


ANSWER: tuple[Step, ...] = (accepted(), text("Hel"), text("lo"), last())


class ScriptedStream:
    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = deque(steps)
        self.taken = 0
        self.idle = asyncio.Event()  # set when the script waits
        self.closed = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[Output]:
        return self

    @property
    def ready(self) -> bool:
        return not self._steps or not isinstance(self._steps[0], float | int)

    async def __anext__(self) -> Output:
        while self._steps:
            step = self._steps.popleft()
            if isinstance(step, PaddockError):
                raise step
            if not isinstance(step, float | int):
                self.taken += 1
                return step
            self.idle.set()
            await asyncio.sleep(step)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed.set()


class ScriptedService:
    """`steps` is the script of the next jobs; `works` are what their `prepare` made."""

    def __init__(self, *steps: Step, served: Served | None = None) -> None:
        self.bus = Bus()
        self.steps: Sequence[Step] = steps or ANSWER
        self.served = served
        self.jobs: list[Job] = []
        self.works: list[Work] = []
        self.streams: list[ScriptedStream] = []
        self.submitted = asyncio.Event()
        self.asked: list[tuple[str, ModelId]] = []
        self.draining = False

    def resolve(self, name: str) -> ModelId:
        if name in ("gemma", "default/gemma", "tiny-alias"):
            return GEMMA
        raise PaddockError(Code.MODEL_NOT_FOUND, f"There is no Model {name!r}.", param="model")

    def submit(self, job: Job) -> ScriptedStream:
        self.jobs.append(job)
        stream = _Preparing(self, job) if self.served is not None else ScriptedStream(self.steps)
        self.streams.append(stream)
        self.submitted.set()
        return stream

    def state(self) -> PodState:
        model = ModelState(namespace="default", name="gemma", revision="rev-1", phase=Phase.READY)
        return PodState(pod="test", epoch=self.bus.epoch, sequence=self.bus.sequence, version="0", config_generation=1,
                        config_hash="0", draining=self.draining,
                        memory=Memory(budget_bytes=100, charged_bytes=10, measured_bytes=5), models=[model], engines=[])

    @property
    def leaving(self) -> bool:
        return self.draining

    @property
    def generation(self) -> int:
        return 7

    async def load(self, model: ModelId) -> None:
        self.asked.append(("load", model))

    async def unload(self, model: ModelId) -> None:
        self.asked.append(("unload", model))

    async def prefetch(self, model: ModelId) -> None:
        self.asked.append(("prefetch", model))


class _Preparing(ScriptedStream):
    """Calls `prepare` first, as the lifecycle does once a Model is loaded."""

    def __init__(self, service: ScriptedService, job: Job) -> None:
        super().__init__(service.steps)
        self._service = service
        self._job: Job | None = job

    async def __anext__(self) -> Output:
        if self._job is not None:
            job, self._job = self._job, None
            assert self._service.served is not None
            self._service.works.append(await job.prepare(self._service.served))
        return await super().__anext__()
