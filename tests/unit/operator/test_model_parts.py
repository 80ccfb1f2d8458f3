"""Access, revisions, and the words that Models are told about in."""

from __future__ import annotations

from typing import Any

import pytest

from paddock_api import cluster_names as names
from paddock_api.errors import Code
from paddock_api.manifest import ManifestError, parse
from paddock_api.model import Model
from paddock_api.state import Phase
from paddock_operator.model.access import pool_of, refusal
from paddock_operator.model.invalid import invalid
from paddock_operator.model.picture import picture
from paddock_operator.model.reasons import MAX_MESSAGE, memory, of_code, plain, size
from paddock_operator.model.revisions import ANNOTATION_PROVEN, Kept, cause_of, kept, last_good, plan, read_kept
from paddock_operator.pods.reports import ModelReports, PodReport
from paddock_operator.pods.view import Left
from paddock_operator.store import Key
from tests.unit.operator.kit import GIB, NOW, golden, model, pool, reports, revision, state

KEY = Key("paddock-system", "default")


def test_the_pool_of_a_model() -> None:
    default = Key("system", "default")
    assert pool_of(model(), default, "system") == default
    assert pool_of(model(poolRef={"name": "gpu"}), default, "system") == Key("system", "gpu")
    assert pool_of(model(poolRef={"name": "gpu", "namespace": "other"}), default, "system") == Key("other", "gpu")


FILE = {"file": {"volume": "files", "path": "a.gguf"}}
HUB = {"huggingFace": {"repo": "o/r", "credential": "hf"}}


@pytest.mark.parametrize(("spec", "pool_spec", "labels", "reason", "says"), [
    ({}, None, {}, "PoolNotFound", "no RuntimePool default in namespace paddock-system"),
    ({}, {}, {}, "PoolNotAllowed", "does not take Models of namespace team-a"),
    ({}, {"allowedNamespaces": {"names": ["team-b"]}}, {}, "PoolNotAllowed", "spec.allowedNamespaces"),
    ({}, {"allowedNamespaces": {"selector": {"matchLabels": {"llm": "yes"}}}}, {"llm": "no"}, "PoolNotAllowed", ""),
    ({"source": FILE}, {"allowedNamespaces": {"all": True}}, {}, "VolumeNotFound", "has no volume files; it has none"),
    ({"source": FILE}, {"allowedNamespaces": {"all": True}, "volumes": [{"name": "b", "emptyDir": {}}]}, {},
     "VolumeNotFound", "it has b"),
    ({"source": {"file": {"path": "/etc/shadow"}}}, {"allowedNamespaces": {"all": True}}, {}, "VolumeNotFound",
     "spec.source.file.volume: name one"),
    ({"source": HUB}, {"allowedNamespaces": {"all": True}}, {}, "CredentialNotFound", "has no credential hf"),
    ({"engine": {"adapters": [{"source": FILE}]}}, {"allowedNamespaces": {"all": True}}, {}, "VolumeNotFound",
     "spec.engine.adapters[0].source.file.volume"),
    ({"engine": {"adapters": [{"source": {"huggingFace": {"repo": "o/r"}}}]}}, {"allowedNamespaces": {"all": True}}, {},
     "InvalidSpec", "not supported for adapters"),
])
def test_a_model_gets_nothing_that_its_pool_does_not_offer_to_its_namespace(
    spec: dict[str, Any], pool_spec: dict[str, Any] | None, labels: dict[str, str], reason: str, says: str
) -> None:
    found = refusal(model(**spec), KEY, None if pool_spec is None else pool(**pool_spec), labels)
    assert found is not None
    assert found.reason == reason
    assert says in found.message


@pytest.mark.parametrize(("spec", "pool_spec", "labels", "namespace"), [
    ({}, {}, {}, "paddock-system"),
    ({}, {"allowedNamespaces": {"names": ["team-a"]}}, {}, "team-a"),
    ({}, {"allowedNamespaces": {"selector": {"matchLabels": {"llm": "yes"}}}}, {"llm": "yes"}, "team-a"),
    ({"source": FILE}, {"allowedNamespaces": {"all": True}, "volumes": [{"name": "files", "emptyDir": {}}]}, {}, "x"),
    ({"source": HUB}, {"allowedNamespaces": {"all": True}, "credentials": [{"name": "hf", "secretName": "s"}]}, {},
     "x"),
])
def test_and_what_it_offers_may_be_used(
    spec: dict[str, Any], pool_spec: dict[str, Any], labels: dict[str, str], namespace: str
) -> None:
    assert refusal(model(namespace=namespace, **spec), KEY, pool(**pool_spec), labels) is None


def stored(document: dict[str, Any], version: int = 1) -> dict[str, Any]:
    metadata = {**document["metadata"], "uid": f"cm-{document['metadata']['name']}", "resourceVersion": str(version)}
    return {**document, "metadata": metadata}


def history(*causes: str, proven: tuple[int, ...] = (), subject: Model | None = None) -> tuple[Model, list[Kept]]:
    """A Model that had these revisions, one after the other."""
    subject = subject or model(revisionHistoryLimit=2)
    found: list[Kept] = []
    for number, cause in enumerate(causes, start=1):
        wanted = revision(subject, digest=f"{number:064x}")
        steps = plan(subject, found, wanted, proven=number in proven, now=f"t{number}", cause=cause)
        assert steps.write is not None
        read = read_kept(stored(steps.write))
        assert read is not None
        found = [each for each in [*found, read] if each.document not in steps.drop]
    return subject, found


def test_a_revision_is_stored_as_it_is_written_down() -> None:
    subject = model()
    steps = plan(subject, [], revision(subject), proven=False, now="2026-11-22T10:00:00Z", cause="created")
    assert steps.replace is None
    assert steps.drop == []
    golden("revision", steps.write)


def test_a_revision_that_is_stored_is_not_written_again_until_it_is_proven() -> None:
    subject, found = history("created")
    wanted = found[0].revision
    assert plan(subject, found, wanted, proven=False, now="t9", cause="x").write is None
    marked = plan(subject, found, wanted, proven=True, now="t9", cause="x").write
    assert marked is not None
    assert marked["metadata"]["annotations"][ANNOTATION_PROVEN] == "t9"
    assert marked["data"] == found[0].document["data"]
    again = read_kept(stored(marked, 2))
    assert again is not None
    assert plan(subject, [again], wanted, proven=True, now="t10", cause="x").write is None


def test_history_keeps_its_limit_what_is_wanted_and_what_serves() -> None:
    _, found = history("created", "two", "three", "four", "five", proven=(1,))
    assert [each.number for each in found] == [1, 3, 4, 5]  # 1 is the last good one, 3 and 4 the two old ones
    none, kept_none = history("created", "two", "three", subject=model(revisionHistoryLimit=0))
    assert [each.number for each in kept_none] == [3]
    assert none.spec.revision_history_limit == 0


def test_the_pass_that_proves_a_revision_drops_what_it_stood_in_for() -> None:
    """No later pass has to come by for that: of what a process wrote itself nothing asks for one."""
    subject, found = history("created", "two", proven=(1,), subject=model(revisionHistoryLimit=0))
    assert [each.number for each in found] == [1, 2]
    assert plan(subject, found, found[1].revision, proven=False, now="t9", cause="x").drop == []
    assert plan(subject, found, found[1].revision, proven=True, now="t9", cause="x").drop == [found[0].document]


def test_going_back_makes_an_old_revision_the_newest() -> None:
    subject, found = history("created", "two", proven=(1,))
    steps = plan(subject, found, found[0].revision, proven=False, now="t9", cause="the spec changed")
    assert steps.write is not None
    annotations = steps.write["metadata"]["annotations"]
    assert annotations[names.ANNOTATION_REVISION_NUMBER] == "3"
    assert annotations[names.ANNOTATION_REVISION_CAUSE] == "back to revision 1"
    assert annotations[ANNOTATION_PROVEN] == "t1"


def test_the_last_good_one_is_the_wanted_one_once_proven_else_the_newest_proven() -> None:
    _, found = history("a", "b", "c", proven=(1, 2))
    assert last_good(found, found[2].id) == found[1].revision
    assert last_good(found, found[0].id) == found[0].revision
    _, unproven = history("a", "b")
    assert last_good(unproven, unproven[1].id) is None


def test_content_that_moved_is_replaced_since_it_cannot_be_changed() -> None:
    subject, found = history("created", proven=(1,))
    moved = found[0].revision.model_copy(update={
        "resolution": found[0].revision.resolution.model_copy(update={"files": ["https://mirror.example/g"]})})
    steps = plan(subject, found, moved, proven=False, now="t9", cause="x")
    assert steps.replace == found[0].document
    assert steps.write is not None
    assert "mirror.example" in steps.write["data"]["revision.json"]
    assert steps.write["metadata"]["annotations"][ANNOTATION_PROVEN] == "t1"


def test_what_is_no_revision_of_this_model_is_none() -> None:
    _, found = history("created")
    good = found[0].document
    strange = stored({**good, "metadata": {**good["metadata"], "name": "x", "ownerReferences": [{"uid": "other"}]}})
    broken = stored({**good, "data": {"revision.json": "{}"}})
    renamed = stored({**good, "metadata": {**good["metadata"], "labels": names.revision_labels("gemma", "0" * 16)}})
    assert [each.id for each in kept([good, strange, broken, renamed], "uid-gemma", read_kept)] == [found[0].id]


def test_why_a_revision_came_to_be() -> None:
    subject, found = history("created")
    moved = revision(subject, digest="f" * 64)
    assert cause_of(subject, None, moved) == "created"
    assert cause_of(subject, found[0], moved) == "the source changed"
    assert cause_of(subject, found[0], revision(model(aliases=["a"]))) == "the spec changed"
    said = model(annotations={"kubernetes.io/change-cause": "bigger context"})
    assert cause_of(said, found[0], moved) == "bigger context"


def test_words() -> None:
    assert [of_code(code.value) for code in (Code.CHECKSUM_MISMATCH, Code.NO_FIT, Code.ENGINE_OOM)] \
        == ["ChecksumMismatch", "CannotFit", "EngineOom"]
    assert [of_code(text) for text in ("", "9lives", "a b\nc", "_x")] == ["Failed", "Failed", "ABC", "Failed"]
    assert plain("a\x1b[31m\r\n\u2028b\x00") == "a [31m b"
    assert len(plain("x" * 5000)) == MAX_MESSAGE
    assert [size(1), size(2_500), size(253_000_000), size(12 * 10**9)] == ["1 bytes", "2.5 kB", "253 MB", "12 GB"]
    assert [memory(GIB), memory(3 * GIB // 2), memory(100)] == ["1Gi", "1.5Gi", "100"]


def test_many_pods_make_one_picture() -> None:
    subject = model()
    wanted = revision(subject).id
    seen = picture(reports(
        state(Phase.READY, subject, measured_bytes=5, last_used=NOW), state(Phase.READY, subject, revision_id="old"),
        state(Phase.UNLOADING, subject), state(Phase.ABSENT, subject), None), wanted, lambda _: True)
    assert (seen.reporting, seen.proven, seen.active) == (5, True, "old")
    assert seen.replicas.model_dump() == {
        "fetching": 0, "cached": 0, "loading": 0, "ready": 2, "draining": 1, "failed": 0}


def test_the_last_unload_of_all_pods_is_the_one_that_is_told() -> None:
    idle, room = PodReport("a", "h", None, Left("idle", 5.0)), PodReport("b", "h", None, Left("room", 6.0))
    assert picture(ModelReports((idle, room)), "r", lambda _: True).left == "room"


def test_a_spec_that_cannot_be_read_is_said_so_once() -> None:
    raw = {"apiVersion": "paddock.dev/v1alpha1", "kind": "Model",
           "metadata": {"name": "m", "namespace": "n", "uid": "u", "generation": 4},
           "spec": {"source": {"http": {"url": "ftp://x", "sha256": "0" * 64}}},
           "status": {"revision": "kept", "conditions": []}}
    with pytest.raises(ManifestError) as caught:
        parse(Model, raw, with_status=True)
    status, told = invalid(raw, caught.value, NOW)
    assert status["revision"] == "kept"
    assert [(each["type"], each["status"], each["reason"]) for each in status["conditions"]] \
        == [("Ready", "False", "InvalidSpec")]
    assert [each.reason for each in told] == ["InvalidSpec"]
    again, _ = invalid({**raw, "status": status}, caught.value, NOW + 100)
    assert again == status
