"""What `kubectl describe model` tells in six situations, whole: conditions and events."""

from __future__ import annotations

from typing import Any

import pytest

from paddock_api.state import Phase
from paddock_api.status import ModelStatus
from paddock_operator.model.decide import decide, document
from paddock_operator.model.inputs import Input, Pinned
from paddock_operator.model.picture import picture
from paddock_operator.model.story import story
from tests.unit.operator.kit import FACTS, GIB, NOW, given, golden, model, reports, revision, state

GEMMA = model()
CHECKSUM = ("checksum_mismatch", "https://files.example/gemma.gguf has sha256 cdcd…, the spec says abab…")


def after(*steps: Input) -> ModelStatus | None:
    """The status that the steps leave behind, each beginning with the one before."""
    status = None
    for step in steps:
        status = decide(with_status(step, status))
    return status


def with_status(step: Input, status: ModelStatus | None, seconds: float = 0.0) -> Input:
    subject = model(status=status)
    return Input(**{**vars(step), "model": subject, "now": step.now + seconds})


FRESH = given(GEMMA, reports(None, None))
DOWNLOADING = given(GEMMA, reports(state(Phase.FETCHING, GEMMA), None))
LOADED = given(GEMMA, reports(state(Phase.READY, GEMMA, measured_bytes=900 << 20, last_used=NOW), None))
EVICTED = given(GEMMA, reports(state(Phase.CACHED, GEMMA), None, left="room"), last_good=revision(GEMMA).id)
BAD_CHECKSUM = given(GEMMA, reports(state(Phase.FAILED, GEMMA, failure=CHECKSUM), None))
NEVER_FITS = given(GEMMA, reports(None, None), outcome=Pinned(revision(GEMMA).id, FACTS, 12 * GIB))


@pytest.mark.parametrize(("name", "before", "now"), [
    ("fresh", None, FRESH),
    ("downloading", after(FRESH), DOWNLOADING),
    ("loaded", after(FRESH, DOWNLOADING), LOADED),
    ("evicted", after(FRESH, DOWNLOADING, LOADED), EVICTED),
    ("bad-checksum", after(FRESH, DOWNLOADING), BAD_CHECKSUM),
    ("cannot-fit", None, NEVER_FITS),
])
def test_the_situation_is_told_as_it_is_written_down(name: str, before: ModelStatus | None, now: Input) -> None:
    step = with_status(now, before, seconds=60.0)
    status = decide(step)
    events = [{"type": each.type, "reason": each.reason, "message": each.message}
              for each in story("uid", before, status)]
    golden(f"model-{name}", {"status": document(status), "events": events})


def test_nothing_is_guessed_of_pods_that_never_report() -> None:
    status = decide(given(GEMMA))
    told = {each.type: (each.status, each.reason) for each in status.conditions}
    unknown = ("Unknown", "NoReport")
    assert told == {"Resolved": ("True", "Resolved"), "Ready": ("True", "Servable"), "Degraded": unknown,
                    "Cached": unknown, "Loaded": unknown}
    assert status.replicas is None
    assert status.active_revision is None


def test_a_pass_that_sees_nothing_new_changes_nothing() -> None:
    for step in (FRESH, DOWNLOADING, LOADED, EVICTED, BAD_CHECKSUM, NEVER_FITS):
        once = decide(step)
        again = decide(with_status(step, once, seconds=3600.0))
        assert document(again) == document(once)
        assert story("uid", once, again) == []


def test_a_bad_revision_leaves_the_last_good_one_serving() -> None:
    old = "0123456789abcdef"
    loaded = state(Phase.READY, GEMMA, revision_id=old, failure=CHECKSUM)
    status = decide(given(GEMMA, reports(loaded), last_good=old))
    told = {each.type: (each.status, each.reason) for each in status.conditions}
    assert told["Ready"] == ("True", "LastGoodServes")
    assert told["Degraded"] == ("True", "ChecksumMismatch")
    assert told["Loaded"] == ("True", "Loaded")
    assert (status.active_revision, status.revision) == (old, revision(GEMMA).id)


def test_a_revision_that_failed_its_checks_degrades_the_model_with_the_evidence() -> None:
    old = "0123456789abcdef"
    evidence = ('spec.verify[1] (maxDistance) on "Once upon a time": the logits are 0.1932 nats from those of the '
                "active revision, more than 0.03")
    loaded = state(Phase.READY, GEMMA, revision_id=old, failure=("verify_failed", evidence))
    status = decide(given(GEMMA, reports(loaded), last_good=old))
    told = {each.type: each for each in status.conditions}
    assert (told["Degraded"].status, told["Degraded"].reason) == ("True", "VerifyFailed")
    assert told["Degraded"].message == f"revision {old} serves instead: {evidence}"
    assert (told["Ready"].status, told["Ready"].reason) == ("True", "LastGoodServes")
    first = state(Phase.FAILED, GEMMA, failure=("verify_failed", evidence))
    alone = {each.type: each for each in decide(given(GEMMA, reports(first))).conditions}
    assert (alone["Ready"].status, alone["Ready"].reason) == ("False", "VerifyFailed")
    assert evidence in alone["Ready"].message


def test_a_passing_failure_marks_nothing_as_bad() -> None:
    full = state(Phase.FAILED, GEMMA, failure=("disk_full", "the cache has no room for 253 MB"))
    told = {each.type: (each.status, each.reason) for each in decide(given(GEMMA, reports(full))).conditions}
    assert told["Ready"] == ("True", "Servable")
    assert told["Loaded"] == ("False", "DiskFull")
    assert told["Degraded"] == ("False", "AsWanted")


def test_a_failure_of_another_revision_is_none_of_this_one() -> None:
    failed = state(Phase.FAILED, GEMMA, revision_id="before", failure=CHECKSUM)
    seen = picture(reports(failed), revision(GEMMA).id, lambda _: False)
    told = {each.type: (each.status, each.reason) for each in decide(given(GEMMA, picture=seen)).conditions}
    assert told["Ready"] == ("True", "Servable")


def test_pods_that_may_still_report_leave_what_was_known() -> None:
    loaded = after(FRESH, DOWNLOADING, LOADED)
    waiting = decide(with_status(given(GEMMA, reports(pending=True)), loaded))
    assert loaded is not None
    assert document(waiting) == {**document(loaded)}
    silent = decide(with_status(given(GEMMA, reports()), loaded))
    assert {each.status for each in silent.conditions if each.type in ("Loaded", "Cached")} == {"Unknown"}


def test_a_loaded_replica_beats_an_estimate() -> None:
    proven = given(GEMMA, reports(state(Phase.READY, GEMMA)), outcome=Pinned(revision(GEMMA).id, FACTS, 12 * GIB))
    assert {each.type: each.status for each in decide(proven).conditions}["Ready"] == "True"


def test_what_moves_all_the_time_is_not_written_all_the_time() -> None:
    loaded = after(FRESH, DOWNLOADING, LOADED)

    def reading(measured: int, used: float) -> dict[str, Any]:
        seen = reports(state(Phase.READY, GEMMA, measured_bytes=measured, last_used=used), None)
        return document(decide(with_status(given(GEMMA, seen), loaded)))

    assert loaded is not None
    assert reading((900 << 20) + 1000, NOW + 200) == document(loaded)
    assert reading(1000 << 20, NOW + 200)["memory"]["measuredBytes"] == 1000 << 20
    assert reading(900 << 20, NOW + 301)["lastUsedTime"] != document(loaded)["lastUsedTime"]


def test_one_turn_is_told_once_and_alike_by_every_process() -> None:
    before = after(FRESH, DOWNLOADING)
    first = story("uid", before, decide(with_status(LOADED, before, seconds=5)))
    second = story("uid", before, decide(with_status(LOADED, before, seconds=90)))
    assert [each.turn for each in first] == [each.turn for each in second]
    assert len({each.turn for each in first}) == len(first) == 2
