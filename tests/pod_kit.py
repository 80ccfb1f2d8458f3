"""A whole pod on a real socket, in a thread of the test: what `paddock serve` runs, with the test's own limits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx
import uvloop
import yaml
from openai import OpenAI

from paddock_runtime.config import DirectorySource
from paddock_runtime.engine.llamacpp import LlamaCpp
from paddock_runtime.lifecycle import Limits
from paddock_runtime.server.context import Settings
from paddock_runtime.server.listener import bind
from paddock_runtime.server.pod import Plan, StopSignal, run
from paddock_runtime.store import FileStore

DEADLINE = 120.0
GEMMA_MANIFEST = Path(__file__).resolve().parents[1] / "examples" / "models" / "gemma.yaml"


def write_model(folder: Path, name: str, path: Path, **spec: Any) -> None:
    """A manifest for a file of this machine."""
    manifest = {"apiVersion": "paddock.dev/v1alpha1", "kind": "Model", "metadata": {"name": name},
                "spec": {"source": {"file": {"path": str(path)}}, **spec}}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(manifest))


def write_gemma(folder: Path, path: Path, *, name: str = "gemma", **engine: Any) -> None:
    """The example's manifest, with the file where the tests keep it."""
    manifest = yaml.safe_load(GEMMA_MANIFEST.read_text())
    manifest["metadata"]["name"] = name
    manifest["spec"]["source"]["file"]["path"] = str(path)
    manifest["spec"]["engine"] |= engine
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(manifest))


def eventually(check: Callable[[], Any], *, within: float = DEADLINE) -> Any:
    """The first true value of `check`; fails after a generous deadline."""
    end = time.monotonic() + within
    while not (value := check()):
        assert time.monotonic() < end, "it did not come to this in time"
        time.sleep(0.05)
    return value


class PodThread:
    """`with PodThread(folder, cache) as pod`: serves the manifests in `folder` until the block ends."""

    def __init__(self, folder: Path, cache: Path, *, memory_bytes: int = 2 << 30, settings: Settings | None = None,
                 limits: Limits | None = None, allow_hosts: frozenset[str] = frozenset(),
                 source: DirectorySource | None = None, **plan: Any) -> None:
        source = source or DirectorySource(folder)
        self._listener = bind("127.0.0.1", 0)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._plan = Plan(source=source, snapshot=source.read(), store=FileStore(cache, allow_hosts=allow_hosts),
                          engine_types=[LlamaCpp()], listener=self._listener, memory_bytes=memory_bytes,
                          version="test", drain=5.0, settings=settings or Settings(), limits=limits or Limits(), **plan)
        assert self._plan.snapshot.error is None
        self._thread = threading.Thread(target=self._run, name="pod")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: StopSignal | None = None
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(self._answers)
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.stop)
        self._thread.join(DEADLINE)
        self._listener.close()
        assert not self._thread.is_alive()
        if self.failure is not None:
            raise self.failure

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = httpx.get(f"{self.url}/state", timeout=30).json()
        return state

    def model(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(model for model in self.state()["models"] if model["name"] == name)
        return found

    def engine(self, name: str) -> dict[str, Any] | None:
        """The engine that `name` is in, if it is in one."""
        return next((engine for engine in self.state()["engines"] if f"default/{name}" in engine["models"]), None)

    def counter(self, name: str, counter: str) -> int:
        engine = self.engine(name)
        return 0 if engine is None else int(engine["counters"].get(counter, 0))

    def client(self) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", timeout=DEADLINE, max_retries=0)

    def _answers(self) -> bool:
        if self.failure is not None:
            raise self.failure
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001  handed to the test's thread
            self.failure = error

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), StopSignal()
        await run(self._plan, self._stop)
