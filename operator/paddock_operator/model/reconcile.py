"""One pass over one Model: gather, decide, write what differs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from paddock_api.cluster_names import ANNOTATION_RECONCILE
from paddock_api.errors import PaddockError
from paddock_api.manifest import ManifestError
from paddock_api.model import Model
from paddock_api.quantity import to_bytes
from paddock_api.revision import Revision, revision_of
from paddock_api.runtime_pool import RuntimePool
from paddock_api.status import ModelFacts
from paddock_operator.clock import timestamp
from paddock_operator.cluster.errors import Invalid
from paddock_operator.cluster.resources import CONFIG_MAPS, MODELS, Object
from paddock_operator.model.access import refusal
from paddock_operator.model.decide import decide, document
from paddock_operator.model.events import event
from paddock_operator.model.inputs import Failed, Input, NotTried, Outcome, Pinned
from paddock_operator.model.invalid import invalid
from paddock_operator.model.picture import Picture, picture
from paddock_operator.model.reasons import of_code, plain
from paddock_operator.model.revisions import Kept, cause_of, last_good, plan
from paddock_operator.model.sources import Answer, Question, Sources
from paddock_operator.model.story import Told, story
from paddock_operator.store import Key
from paddock_operator.surroundings import Surroundings
from paddock_operator.telling import tell

# The credentials of a pool, by the names that Models use.
Credentials = Callable[[RuntimePool, str], Awaitable[Mapping[str, Any]]]


class _Gathered(NamedTuple):
    given: Input
    revision: Revision | None  # the one to keep as wanted, if the source is resolved
    revisions: list[Kept]
    again: float | None


class ModelReconciler:
    def __init__(self, around: Surroundings, sources: Sources, credentials: Credentials) -> None:
        self._around = around
        self._sources = sources
        self._credentials = credentials
        self._written: dict[Key, float] = {}

    async def __call__(self, key: Key) -> float | None:
        """Seconds until the next pass is due by itself, if one is. Raises ApiError, NotLeader."""
        raw = self._around.world.models.get(key)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            self._sources.forget(key)
            self._written.pop(key, None)
            return None
        try:
            model = self._around.world.model(raw)
        except ManifestError as error:
            bad, told = invalid(raw, error, self._around.wall())
            if bad != raw.get("status"):
                await self._status(key, raw, bad, told)
            return None
        gathered = await self._gather(key, model)
        if gathered.revision is not None:
            await self._keep(model, gathered)
        status = decide(gathered.given)
        new, old = document(status), document(model.status) if model.status is not None else {}
        if new == old:
            return gathered.again
        if _follows_pods(old, new) and (wait := self._too_soon(key)) > 0:
            return min(wait, gathered.again or wait)
        await self._status(key, raw, new, story(model.metadata.uid or "", model.status, status))
        return gathered.again

    async def _gather(self, key: Key, model: Model) -> _Gathered:
        around, world = self._around, self._around.world
        pool_key = world.pool_of(model)
        pool = world.find_pool(pool_key)
        refused = refusal(model, pool_key, pool, world.namespace_labels(key.namespace))
        revisions = world.revisions(model)
        wanted_before = model.status.revision if model.status is not None else None
        current = next((each.revision for each in revisions if each.id == wanted_before), None)
        outcome: Outcome = NotTried()
        revision, again = None, None
        if refused is None and pool is not None:
            outcome, revision, again = await self._resolve(key, model, pool_key, pool, current)
        wanted = revision.id if revision is not None else current.id if current is not None else None
        seen = picture(around.reports.of(model.id, pool_key), wanted,
                       lambda told: wanted is not None and around.published.told(pool_key, told, model.id) == wanted) \
            if refused is None else Picture()
        if seen.pending:
            again = min(again or around.reports.grace, around.reports.grace)
        good = last_good(revisions, wanted)
        return _Gathered(Input(
            model=model, refusal=refused, outcome=outcome, picture=seen,
            last_good=wanted if seen.proven else good.id if good is not None else None,
            budget=to_bytes(pool.spec.memory) if pool is not None else None,
            pool_replicas=pool.spec.replicas if pool is not None else None,
            unplaced=around.published.unplaced(pool_key, model.id), now=around.wall()), revision, revisions, again)

    async def _resolve(self, key: Key, model: Model, pool_key: Key, pool: RuntimePool,
                       current: Revision | None) -> tuple[Outcome, Revision | None, float | None]:
        source, status = model.spec.source, model.status
        credential = source.hugging_face.credential if source.hugging_face is not None else None

        async def credentials() -> Mapping[str, Any]:
            return await self._credentials(pool, credential) if credential is not None else {}

        requested = model.metadata.annotations.get(ANNOTATION_RECONCILE)
        handled = status.last_handled_reconcile_at if status is not None else None
        try:
            answer = await self._sources.answer(Question(
                model=key, spec=model.spec, current=current, requested=requested if requested != handled else None,
                scope=f"{pool_key} {credential or ''}", credentials=credentials))
        except PaddockError as error:
            failed = Failed(of_code(error.code.value), plain(error.message), error.retry_after is not None,
                            current.id if current is not None else None)
            return failed, None, error.retry_after
        revision = revision_of(model.spec, answer.resolution)
        return _pinned(model, revision, answer, current), revision, answer.again

    async def _keep(self, model: Model, gathered: _Gathered) -> None:
        """The wanted revision is stored before any status names it."""
        assert gathered.revision is not None
        writer, now = self._around.writer, timestamp(self._around.wall())
        before = model.status.revision if model.status is not None else None
        steps = plan(model, gathered.revisions, gathered.revision, proven=gathered.given.picture.proven, now=now,
                     cause=cause_of(model, next((each for each in gathered.revisions if each.id == before), None),
                                    gathered.revision))
        if steps.replace is not None:
            await writer.delete(CONFIG_MAPS, steps.replace)
        if steps.write is not None:
            try:
                await writer.apply(CONFIG_MAPS, steps.write)
            except Invalid:
                # Somebody else's object of that name, or one of an earlier life of the Model: it can't be changed.
                if (stranger := self._around.world.config_maps.get(_key(steps.write))) is not None:
                    await writer.delete(CONFIG_MAPS, stranger)
                raise
        for old in steps.drop:
            await writer.delete(CONFIG_MAPS, old)

    async def _status(self, key: Key, raw: Object, status: Mapping[str, Any], told: list[Told]) -> None:
        """Events first: what a status says has been told, even if the process ends in between."""
        for each in told:
            await tell(self._around.writer, event(each, raw, instance=self._around.instance, now=self._around.wall()))
        metadata = raw["metadata"]
        self._written[key] = self._around.clock()
        await self._around.writer.apply_status(MODELS, {
            "apiVersion": MODELS.api_version, "kind": MODELS.kind, "status": dict(status),
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": metadata["uid"],
                         "resourceVersion": metadata["resourceVersion"]}})

    def _too_soon(self, key: Key) -> float:
        """Seconds until a status that only follows the pods may be written again."""
        return self._written.get(key, -self._around.pace) + self._around.pace - self._around.clock()


def _follows_pods(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return all(old.get(name) == new.get(name)
               for name in ("observedGeneration", "revision", "facts", "lastHandledReconcileAt"))


def _pinned(model: Model, revision: Revision, answer: Answer, current: Revision | None) -> Pinned:
    """What was known of the file and the engine's needs stays known when nobody was asked."""
    status = model.status
    facts, estimated = answer.facts, answer.estimated
    if facts is None:
        facts = (status.facts if status is not None else None) or ModelFacts()
    if estimated is None and current is not None and status is not None and status.memory is not None \
            and (current.spec.engine, current.resolution.sha256) == (revision.spec.engine, revision.resolution.sha256):
        estimated = status.memory.estimated_bytes
    return Pinned(revision.id, facts, estimated)


def _key(document: Object) -> Key:
    return Key(document["metadata"]["namespace"], document["metadata"]["name"])
