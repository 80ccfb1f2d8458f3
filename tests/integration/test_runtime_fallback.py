"""`lastGood`: a revision that is bad by itself is marked, and the same request gets its answer from the one before.
What may pass marks nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paddock_api.revision import Resolution, Revision
from tests.integration.conftest import descendants
from tests.pod_kit import eventually
from tests.runtime_kit import RuntimePod, digest, revision, sent_events

Tiny = Callable[[int], Path]
MISSING = "http://127.0.0.1:9/model.gguf"  # the discard port: nobody listens


@pytest.fixture(autouse=True, scope="module")
def no_process_left_behind() -> Iterator[None]:
    """In place of the check after each test: this module's pod keeps its engines until the end."""
    before = set(descendants(os.getpid()))
    yield
    eventually(lambda: not set(descendants(os.getpid())) - before)


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Iterator[RuntimePod]:
    pod = RuntimePod(tmp_path_factory.mktemp("pod"), PADDOCK_ALLOWED_HOSTS="127.0.0.1:9", PADDOCK_MEMORY="1Gi")
    pod.put("good.gguf", tiny(0))
    with pod:
        yield pod


@pytest.fixture
def good(pod: RuntimePod) -> Revision:
    return pod.in_volume("good.gguf")


def foreign(pod: RuntimePod) -> Revision:
    path = pod.volume / "foreign.gguf"
    path.write_bytes(b"this is no model at all" * 1000)
    return pod.in_volume("foreign.gguf")


def truncated(pod: RuntimePod) -> Revision:
    path = pod.volume / "truncated.gguf"
    path.write_bytes((pod.volume / "good.gguf").read_bytes()[:300_000])
    return pod.in_volume("truncated.gguf")


def unknown_architecture(pod: RuntimePod) -> Revision:
    data = (pod.volume / "good.gguf").read_bytes()
    path = pod.volume / "unknown.gguf"
    path.write_bytes(data.replace(b"llama", b"xlama"))
    return pod.in_volume("unknown.gguf")


def wrong_digest(pod: RuntimePod) -> Revision:
    spec = {"file": {"volume": "models", "path": "good.gguf", "sha256": "0" * 64}}
    return revision(spec, Resolution(files=[str(pod.volume / "good.gguf")]))


def too_large_to_hold(pod: RuntimePod) -> Revision:
    return pod.in_volume("good.gguf", engine={"cacheTokens": 9_000_000, "contextLength": 512})


def too_large_to_fetch(pod: RuntimePod) -> Revision:
    return revision({"http": {"url": MISSING, "sha256": "1" * 64}},
                    Resolution(files=[MISSING], sha256="1" * 64, size=2 << 30))


def bad_template(pod: RuntimePod) -> Revision:
    return pod.in_volume("good.gguf", engine={"chatTemplate": "{% for m in messages %}{{ m.content }}"})


BAD: dict[str, tuple[Callable[[RuntimePod], Revision], str]] = {
    "foreign": (foreign, "invalid_model_file"), "truncated": (truncated, "invalid_model_file"),
    "architecture": (unknown_architecture, "unsupported_model"), "digest": (wrong_digest, "checksum_mismatch"),
    "memory": (too_large_to_hold, "no_fit"), "size": (too_large_to_fetch, "no_fit"),
    "template": (bad_template, "invalid_spec"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_revision_is_marked_and_the_same_request_is_answered_by_the_good_one(
    pod: RuntimePod, good: Revision, kind: str
) -> None:
    make, reason = BAD[kind]
    bad = make(pod)
    name = f"cold-{kind}"
    pod.apply(pod.entry(name, bad, last_good=good))
    answer = pod.complete(name)
    assert answer.status_code == 200, answer.text
    assert answer.json()["system_fingerprint"] == good.id
    model = pod.model(name)
    assert (model["desired_revision"], model["active_revision"], model["bad_revisions"]) == (bad.id, good.id, [bad.id])
    assert (model["phase"], model["failure"]["reason"]) == ("Ready", reason)
    assert model["failure"]["retry_at"] is None
    assert model["loads"] == 1


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_revision_of_a_loaded_model_costs_no_request(pod: RuntimePod, good: Revision, kind: str) -> None:
    make, reason = BAD[kind]
    name = f"warm-{kind}"
    pod.apply(pod.entry(name, good))
    assert pod.complete(name).json()["system_fingerprint"] == good.id
    bad = make(pod)
    pod.apply(pod.entry(name, bad, last_good=good))
    for _ in range(3):
        answer = pod.complete(name)
        assert (answer.status_code, answer.json()["system_fingerprint"]) == (200, good.id)
    model = pod.until_model(name, lambda model: model["bad_revisions"])
    assert (model["bad_revisions"], model["failure"]["reason"], model["loads"]) == ([bad.id], reason, 1)
    assert model["phase"] == "Ready"


def test_without_a_good_one_the_request_hears_why(pod: RuntimePod) -> None:
    pod.apply(pod.entry("alone", bad_template(pod)))
    answer = pod.complete("alone")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_spec")
    assert answer.json()["error"]["param"] == "spec.engine.chatTemplate"
    assert answer.headers["x-should-retry"] == "false"


def test_when_both_are_bad_the_request_hears_of_the_wanted_one(pod: RuntimePod) -> None:
    wanted, before = foreign(pod), wrong_digest(pod)
    pod.apply(pod.entry("both", wanted, last_good=before))
    answer = pod.complete("both")
    assert answer.json()["error"]["code"] == "invalid_model_file"
    model = pod.model("both")
    assert sorted(model["bad_revisions"]) == sorted([wanted.id, before.id])
    assert (model["phase"], model["failure"]["reason"]) == ("Failed", "invalid_model_file")


def test_what_may_pass_marks_nothing_and_a_loaded_model_serves_on(pod: RuntimePod, good: Revision) -> None:
    away = revision({"http": {"url": MISSING, "sha256": "1" * 64}}, Resolution(files=[MISSING], sha256="1" * 64))
    pod.apply(pod.entry("hub-away", good))
    assert pod.complete("hub-away").status_code == 200
    pod.apply(pod.entry("hub-away", away, last_good=good))
    for _ in range(3):
        assert pod.complete("hub-away").json()["system_fingerprint"] == good.id
    model = pod.until_model("hub-away", lambda model: model["failure"])
    assert model["failure"]["reason"] == "source_unavailable"
    assert model["failure"]["retry_at"] is not None
    assert (model["bad_revisions"], model["active_revision"]) == ([], good.id)


def test_a_mended_revision_takes_over(pod: RuntimePod, good: Revision, tiny: Tiny) -> None:
    bad = foreign(pod)
    pod.apply(pod.entry("mended", bad, last_good=good))
    assert pod.complete("mended").json()["system_fingerprint"] == good.id
    pod.put("foreign.gguf", tiny(3))
    pod.until_model("mended", lambda model: model["active_revision"] == bad.id)
    assert pod.model("mended")["bad_revisions"] == []
    assert pod.complete("mended").json()["system_fingerprint"] == bad.id


def test_the_bus_tells_of_a_bad_revision_although_no_phase_changes(pod: RuntimePod, good: Revision) -> None:
    pod.apply(pod.entry("told", good))
    assert pod.complete("told").status_code == 200
    bad = foreign(pod)
    with pod.events() as response:
        events = sent_events(response)
        assert next(events).kind == "snapshot"
        pod.push(pod.entry("told", bad, last_good=good))
        for event in events:
            state: dict[str, Any] = event.data["data"].get("state", {})
            if event.data["type"] == "model" and state.get("bad_revisions"):
                break
    assert (event.data["model"], state["bad_revisions"], state["phase"]) == ("team/told", [bad.id], "Ready")
    assert state["failure"]["reason"] == "invalid_model_file"


def test_digests_of_the_good_file(pod: RuntimePod, tiny: Tiny) -> None:
    """Else the tests above would prove little."""
    assert digest(pod.volume / "good.gguf") == digest(tiny(0))
