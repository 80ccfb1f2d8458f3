"""What a pod's Models have used: the body of `GET /usage`. All numbers are integers, so that parts add up exactly."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Usage(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)  # an older command reads what a newer pod says


class Amounts(_Usage):
    """`memory_byte_seconds`: measured memory (PSS) over time. `busy_microseconds`: time in which an engine worked,
    divided among the requests in it. `cached_tokens` are those of `prompt_tokens` that needed no computing."""

    memory_byte_seconds: int = 0
    busy_microseconds: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class Entry(Amounts):
    """One Model's use by one tenant. Tenant "" is nobody: memory of a Model that is kept loaded and not asked yet."""

    namespace: str
    model: str
    tenant: str


class ModelUsage(Amounts):
    namespace: str
    model: str


class TenantUsage(Amounts):
    tenant: str


class NamespaceUsage(Amounts):
    namespace: str


class PodUsage(_Usage):
    """`since` and `until` in Unix seconds. `unattributed` is what no Model uses: the pod's own processes, weights that
    were loaded on a guess. `entries` and `unattributed` add up to `total`; the other lists are sums of `entries`."""

    pod: str
    since: float
    until: float
    total: Amounts
    unattributed: Amounts
    namespaces: list[NamespaceUsage] = []
    models: list[ModelUsage] = []
    tenants: list[TenantUsage] = []
    entries: list[Entry] = []
