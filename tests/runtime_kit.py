"""A runtime pod as a cluster runs it: `python -m paddock_runtime` with its volumes, in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx

from paddock_api.model import ModelSpec
from paddock_api.pool import PoolEntry
from paddock_api.revision import Resolution, Revision, revision_of
from tests.pod_kit import eventually
from tests.projected import ProjectedVolume, pool_config, shard_files

POD = "default-runtime-0"
TOKEN = "canary-pool-token-0123456789abcdef"
PATIENCE = 60.0
ENGINE = {"contextLength": 512, "cacheTokens": 1024, "parallel": 4}


class Sent(NamedTuple):
    """One server-sent event."""

    kind: str
    id: str
    data: Any


def revision(source: Mapping[str, Any], resolution: Resolution, **spec: Any) -> Revision:
    """A revision with a small cache that may be evicted at once, unless `spec` says else."""
    loading = {"minResidency": "0s", **spec.pop("loading", {})}
    full = {"source": source, "engine": {**ENGINE, **spec.pop("engine", {})}, "loading": loading, **spec}
    return revision_of(ModelSpec.model_validate(full), resolution)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class RuntimePod:
    """`with RuntimePod(folder) as pod`: a running pod; its files lie in `folder`, and outlive it for the next one.

    `launcher` goes before its command. `environment` adds to the settings, and replaces them."""

    def __init__(self, folder: Path, *, launcher: Sequence[str] = (), **environment: str) -> None:
        self.folder = folder
        self.config = ProjectedVolume(folder / "pool")
        self.volume = folder / "volumes" / "models"
        self.token_file = folder / "token"
        self.log_file = folder / "log.jsonl"
        self._launcher = launcher
        for path in (self.volume, folder / "cache", folder / "credentials", folder / "tmp"):
            path.mkdir(parents=True, exist_ok=True)
        self.token_file.write_text(f"{TOKEN}\n")
        self.generation = 0
        self.environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": ":".join(path for path in sys.path if path),
            "TMPDIR": str(folder / "tmp"), "PADDOCK_POD": POD, "PADDOCK_NAMESPACE": "team", "PADDOCK_POOL": "default",
            "PADDOCK_POOL_CONFIG": str(folder / "pool"), "PADDOCK_TOKEN_FILE": str(self.token_file),
            "PADDOCK_CACHE": str(folder / "cache"), "PADDOCK_VOLUMES": str(folder / "volumes"),
            "PADDOCK_CREDENTIALS": str(folder / "credentials"), "PADDOCK_LISTEN": "127.0.0.1:0",
            "PADDOCK_MEMORY": "2Gi", "PADDOCK_DRAIN_SECONDS": "1", **environment}
        self.environment |= {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.client = httpx.Client(timeout=PATIENCE, headers={"Authorization": f"Bearer {TOKEN}"})

    # --- life

    def start(self) -> Self:
        before = len(self.log())
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._launcher, sys.executable, "-m", "paddock_runtime"], env=self.environment, cwd="/",
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)

        def serving() -> str | None:
            assert self.process is not None
            assert self.process.poll() is None, self.log_file.read_text()[-2000:]
            return next((line["data"]["address"] for line in self.log()[before:] if line["message"] == "serving"), None)

        self.url = f"http://{eventually(serving, within=PATIENCE)}"
        eventually(self._renders, within=PATIENCE)  # its worker starts beside the rest
        return self

    def _renders(self) -> bool:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return any(b"paddock_runtime.render" in Path(f"/proc/{child}/cmdline").read_bytes() for child in children)

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> int:
        """The exit code, after SIGTERM."""
        self.signal()
        return self.wait()

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.signal()  # and once more, not to wait for the drain
            time.sleep(0.1)
            if self.process.poll() is None:
                self.signal()
        self.wait()
        self.client.close()

    # --- configuration

    def put(self, name: str, source: Path) -> Path:
        """A file in the volume `models`, renamed into place."""
        path = self.volume / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path.with_name("new"))
        path.with_name("new").rename(path)
        return path

    def in_volume(self, name: str, *, sha256: str | None = None, size: int | None = None, **spec: Any) -> Revision:
        """A revision of the volume's file `name`, as the operator resolves it."""
        return revision({"file": {"volume": "models", "path": name}},
                        Resolution(files=[str(self.volume / name)], sha256=sha256, size=size), **spec)

    def entry(self, name: str, desired: Revision, *, last_good: Revision | None = None, assigned: Sequence[str] = (),
              namespace: str = "team") -> PoolEntry:
        return PoolEntry(namespace=namespace, name=name, desired=desired, last_good=last_good, assigned=list(assigned))

    def push(self, *entries: PoolEntry) -> int:
        """A new generation with exactly these Models lies in the volume from now on."""
        self.generation += 1
        self.config.swap(shard_files(pool_config(self.generation, entries)))
        return self.generation

    def apply(self, *entries: PoolEntry) -> None:
        """The same, and the pod has taken it."""
        generation = self.push(*entries)
        self.until(lambda state: state["config_generation"] == generation)

    # --- what it says

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(f"{self.url}{path}", **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.client.post(f"{self.url}{path}", **options)

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.get("/state").json()
        return state

    def until(self, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The first state that meets `condition`."""
        return _first(self.state, condition)

    def model(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(model for model in self.state()["models"] if model["name"] == name)
        return found

    def until_model(self, name: str, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        return _first(lambda: self.model(name), condition)

    def complete(self, model: str, prompt: str = "Once upon a time", *, tokens: int = 4,
                 headers: Mapping[str, str] | None = None, **body: Any) -> httpx.Response:
        """Asks as a gateway does: the header says which Model the client's word stands for."""
        return self.post("/v1/completions", headers={"paddock-model": f"team/{model}", **(headers or {})}, json={
            "model": "as-the-client-wrote-it", "prompt": prompt, "max_tokens": tokens, "temperature": 0,
            "ignore_eos": True, **body})

    def stream(self, model: str, *, tokens: int, headers: Mapping[str, str] | None = None) -> Any:
        return self.client.stream("POST", f"{self.url}/v1/completions", json={
            "model": model, "prompt": "Once upon a time", "max_tokens": tokens, "temperature": 0, "ignore_eos": True,
            "stream": True}, headers={"paddock-model": f"team/{model}", **(headers or {})})

    def events(self) -> Any:
        return self.client.stream("GET", f"{self.url}/events", timeout=PATIENCE)

    def log(self) -> list[dict[str, Any]]:
        if not self.log_file.exists():
            return []
        lines = self.log_file.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]


def sent_events(response: httpx.Response) -> Iterator[Sent]:
    """The events of a stream as they arrive."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            data = fields.get("data", "")
            yield Sent(fields.get("event", ""), fields.get("id", ""),
                       data if data == "[DONE]" else json.loads(data))
            fields = {}


def _first(look: Callable[[], dict[str, Any]], condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    end = time.monotonic() + PATIENCE
    while not condition(found := look()):
        assert time.monotonic() < end, f"it did not come to this in time: {json.dumps(found)[:2000]}"
        time.sleep(0.05)
    return found
