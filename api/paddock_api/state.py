"""What a pod says of itself: the lifecycle of each Model, the engines, the memory."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Phase(StrEnum):
    """Absent → Fetching → Cached → Loading → Ready → Draining → Unloading → Cached, and Failed."""

    ABSENT = "Absent"
    FETCHING = "Fetching"
    CACHED = "Cached"
    LOADING = "Loading"
    READY = "Ready"
    DRAINING = "Draining"
    UNLOADING = "Unloading"
    FAILED = "Failed"


class Pressure(StrEnum):
    """How near memory is to its limits: at `critical` the next step is that something is killed."""

    OK = "ok"
    HIGH = "high"
    CRITICAL = "critical"


class _State(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Failure(_State):
    """Why a Model is Failed. `retry_at` is Unix seconds; None: not before its spec or file changes."""

    reason: str
    message: str
    at: float
    attempts: int = 1
    retry_at: float | None = None


class FileFacts(_State):
    """What a pod found in the file of the desired revision. `size` in bytes, all shards together; `sha256` is the first
    one's digest, `sha256s` those of all; `context_length` is what it was trained for."""

    sha256: str
    sha256s: list[str] = []
    size: int
    architecture: str | None = None
    parameters: int | None = None
    quantization: str | None = None
    context_length: int | None = None


class ModelState(_State):
    """`revision` is what serves, or would be loaded next; `active_revision` what serves, `desired_revision` what the
    configuration asks for. `bad_revisions` failed for a fault of their own: they are not tried again before the
    configuration or their file changes. `measured_bytes` are all of its engine, which others may share; `share_bytes`
    is its part of them, so that these add up."""

    namespace: str
    name: str
    aliases: list[str] = []
    revision: str
    desired_revision: str | None = None
    active_revision: str | None = None
    bad_revisions: list[str] = []
    facts: FileFacts | None = None
    phase: Phase
    progress: float | None = None
    failure: Failure | None = None
    digest: str | None = None
    file_bytes: int | None = None
    estimated_bytes: int | None = None
    measured_bytes: int | None = None
    share_bytes: int | None = None
    context_length: int | None = None
    busy: int = 0
    waiting: int = 0
    last_used: float | None = None
    loads: int = 0
    assigned: bool = False


class EngineState(_State):
    """One child process: a set of weights and its contexts."""

    key: str
    type: str
    pid: int | None
    models: list[str]
    charged_bytes: int
    measured_bytes: int | None = None
    threads: int
    busy: int
    started_at: float
    counters: dict[str, int] = {}


class Memory(_State):
    """`container_bytes`: what the container holds and the kernel can't take back, `limit_bytes` its limit, if it has
    one."""

    budget_bytes: int
    charged_bytes: int
    measured_bytes: int
    pressure: Pressure = Pressure.OK
    container_bytes: int | None = None
    limit_bytes: int | None = None


class PodState(_State):
    """`GET /state`. `config_hash` names the configuration that is in force."""

    pod: str
    epoch: str
    sequence: int
    version: str
    config_generation: int
    config_hash: str
    config_error: str | None = None
    draining: bool = False
    memory: Memory
    models: list[ModelState]
    engines: list[EngineState]
