"""The revisions of a Model in a cluster: the operator's ConfigMaps say what was, the Model's spec what is."""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from paddock_api.cluster_names import LABEL_MODEL
from paddock_api.history import Cause, ModelHistory, PastRevision
from paddock_api.identity import ModelId
from paddock_cli.errors import CommandError
from paddock_operator.cluster.account import NoCluster
from paddock_operator.cluster.client import ApiServer, connect
from paddock_operator.cluster.errors import ApiError, Conflict, NotFound
from paddock_operator.cluster.resources import CONFIG_MAPS, MODELS, Object
from paddock_operator.model.revisions import Kept, kept, last_good, read_kept

T = TypeVar("T")
_PAGE = "500"
_KUBECONFIG = "~/.kube/config"


class Cluster:
    """Implements history.Place."""

    def __init__(self, *, kubeconfig: str | None, context: str | None) -> None:
        self._kubeconfig = os.path.expanduser(kubeconfig or os.environ.get("KUBECONFIG") or _KUBECONFIG)
        self._context = context

    def history(self, model: ModelId) -> ModelHistory:
        async def ask(api: ApiServer) -> ModelHistory:
            document = await _model(api, model)
            return _history(model, document, await _revisions(api, model, document))

        return self._run(ask)

    def roll_back(self, model: ModelId, target: PastRevision, before: ModelHistory) -> str:
        async def write(api: ApiServer) -> str:
            document = await _model(api, model)
            spec = _spec_for(document["spec"], target)
            # with the resourceVersion that was read: who changed it meanwhile is not overruled
            await api.request("PUT", MODELS.path(*model), body={**document, "spec": spec},
                              query={"fieldManager": "paddock-cli"})
            return (f"{model} has the spec of revision {target.number} again; the operator makes it the next revision, "
                    f"see `paddock history {model} --namespace {model.namespace}`")

        return self._run(write)

    def _run(self, work: Callable[[ApiServer], Awaitable[T]]) -> T:
        async def run() -> T:
            api = await connect(self._kubeconfig, self._context)
            try:
                return await work(api)
            finally:
                await api.close()

        try:
            return asyncio.run(run())
        except NoCluster as error:
            raise CommandError(f"{error}: name another with --kubeconfig or --context") from None
        except Conflict:
            raise CommandError("the Model was changed just now: look at `paddock diff`, then try again") from None
        except ApiError as error:
            raise CommandError(_remedy(error)) from None


async def _model(api: ApiServer, model: ModelId) -> Object:
    try:
        return await api.request("GET", MODELS.path(*model))
    except NotFound:
        raise CommandError(f"there is no Model {model.name} in the namespace {model.namespace}: `kubectl get "
                           "models -A` shows all, --namespace names another") from None


async def _revisions(api: ApiServer, model: ModelId, document: Object) -> list[Kept]:
    found: list[Object] = []
    query = {"labelSelector": f"{LABEL_MODEL}={model.name}", "limit": _PAGE}
    while True:
        page = await api.request("GET", CONFIG_MAPS.path(model.namespace), query=query)
        found += page.get("items") or ()
        if not (rest := page.get("metadata", {}).get("continue")):
            return kept(found, document["metadata"]["uid"], read_kept)
        query["continue"] = rest


def _history(model: ModelId, document: Object, revisions: list[Kept]) -> ModelHistory:
    status = document.get("status") or {}
    desired = status.get("revision")
    good = last_good(revisions, desired)
    bad = next((each["message"] for each in status.get("conditions", ())
                if each["type"] == "Degraded" and each["status"] == "True"), None)
    return ModelHistory(
        model=str(model), desired=desired, active=status.get("activeRevision"),
        last_good=None if good is None else good.id,
        revisions=[_past(each, bad if each.id == desired and each.id != status.get("activeRevision") else None)
                   for each in revisions])


def _past(each: Kept, bad: str | None) -> PastRevision:
    cause = Cause.ROLLBACK if each.cause.startswith("back to revision") else Cause.CONFIGURATION
    return PastRevision(
        number=each.number, id=each.id, time=_seconds(each.time) or 0.0, cause=cause, text=each.cause, bad=bad,
        proven=_seconds(each.proven), spec=each.revision.spec.model_dump(mode="json"),
        commit=each.revision.resolution.commit)


def _spec_for(now: Object, target: PastRevision) -> Object:
    """The spec that leads back to `target`. When only its source had moved, its commit is named: the spec alone would
    lead to where the source is now."""
    spec = copy.deepcopy(target.spec)
    source = spec.get("source", {}).get("huggingFace")
    if source is not None and spec == now and target.commit is not None:
        source["revision"] = target.commit
    return spec


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _remedy(error: ApiError) -> str:
    if error.status in (401, 403):
        return f"the cluster does not allow it: {error.message}; use a --context whose user may"
    if error.status == 0:
        return f"the cluster does not answer: {error.message}; name another with --kubeconfig or --context"
    return f"the cluster refuses it: {error.message}"
