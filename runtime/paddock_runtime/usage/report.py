"""The ledger as `GET /usage` tells it. Pure; built without validation, for it may list thousands of accounts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

from paddock_api.usage import Amounts, Entry, ModelUsage, NamespaceUsage, PodUsage, TenantUsage
from paddock_runtime.usage.ledger import Account, Books, Totals

K = TypeVar("K", bound=Hashable)


def pod_usage(books: Books, *, pod: str, since: float, until: float) -> PodUsage:
    """Takes a while for thousands of accounts: call it off the event loop."""
    accounts = books.accounts
    namespaces = _summed(accounts, lambda account: account.model.namespace)
    models = _summed(accounts, lambda account: account.model)
    tenants = _summed(accounts, lambda account: account.tenant)
    return PodUsage.model_construct(
        pod=pod, since=since, until=until,
        total=Amounts.model_construct(**_amounts(books.total)),
        unattributed=Amounts.model_construct(**_amounts(books.unattributed)),
        namespaces=[NamespaceUsage.model_construct(namespace=name, **_amounts(totals))
                    for name, totals in sorted(namespaces.items())],
        models=[ModelUsage.model_construct(namespace=model.namespace, model=model.name, **_amounts(totals))
                for model, totals in sorted(models.items())],
        tenants=[TenantUsage.model_construct(tenant=name, **_amounts(totals))
                 for name, totals in sorted(tenants.items())],
        entries=[Entry.model_construct(namespace=account.model.namespace, model=account.model.name,
                                       tenant=account.tenant, **_amounts(totals))
                 for account, totals in sorted(accounts.items())])


def _summed(accounts: Mapping[Account, Totals], key: Callable[[Account], K]) -> dict[K, Totals]:
    found: dict[K, Totals] = {}
    for account, totals in accounts.items():
        found.setdefault(key(account), Totals()).add(totals)
    return found


def _amounts(totals: Totals) -> dict[str, Any]:
    return {"memory_byte_seconds": totals.memory, "busy_microseconds": totals.busy, "requests": totals.requests,
            "prompt_tokens": totals.prompt, "cached_tokens": totals.cached, "completion_tokens": totals.completion}
