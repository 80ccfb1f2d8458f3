"""The arithmetic of the operator's bench, and what it must not let pass as good."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from bench.operator import __main__ as command
from bench.operator import growth, report, writes
from bench.operator.files import Files
from bench.operator.sampling import Usage
from bench.operator.trial import Trial

PATCHED = ("patch", "models-status")
METRICS = """# HELP paddock_operator_writes_total Writes.
# TYPE paddock_operator_writes_total counter
paddock_operator_writes_total{kind="models-status",outcome="ok",verb="apply"} 7.0
paddock_operator_writes_total{kind="models-status",outcome="Conflict",verb="apply"} 2.0
paddock_operator_writes_total{kind="pods",outcome="ok",verb="annotate"} 1.0
paddock_operator_writes_total{kind="leases",outcome="ok",verb="update"} 9.0
# HELP other_total Others.
# TYPE other_total counter
other_total{kind="models-status",outcome="ok",verb="apply"} 5.0
"""


def entry(verb: str, resource: str, code: int = 200, subresource: str | None = None) -> str:
    about = {"resource": resource, **({"subresource": subresource} if subresource else {})}
    return json.dumps({"verb": verb, "objectRef": about, "responseStatus": {"code": code}})


def test_both_counts_speak_the_same_words() -> None:
    obeyed, refused = writes.told(METRICS)
    assert obeyed == {PATCHED: 7, ("patch", "pods"): 1, ("update", "leases"): 9}
    assert refused == {PATCHED: 2}
    log = [entry("patch", "models", subresource="status"), entry("patch", "models", 409, "status"),
           entry("patch", "pods"), entry("create", "events", 201), entry("watch", "models"), entry("get", "leases"),
           entry("update", "leases")]
    seen, seen_refused, read = writes.audited(log)
    assert seen == {PATCHED: 1, ("patch", "pods"): 1, ("create", "events"): 1, ("update", "leases"): 1}
    assert (seen_refused, read) == ({PATCHED: 1}, {("watch", "models"): 1, ("get", "leases"): 1})
    assert writes.without_leases(seen).total() == 3
    assert writes.named(Counter({PATCHED: 7}), 2) == {"patch models-status": 3.5}


@pytest.mark.parametrize(("power", "ratio"), [(1, 1.0), (2, 4.0)])
def test_growth_is_told_by_its_exponent(power: int, ratio: float) -> None:
    points = [(float(count), 0.01 * count ** power) for count in (125, 250, 500)]
    assert growth.exponent(points) == pytest.approx(power)
    assert growth.per_model(points) == pytest.approx(ratio)


def test_what_is_there_without_any_model_is_no_growth() -> None:
    found = growth.line([(100, 5.0), (200, 6.0), (300, 7.0)])
    assert found is not None
    assert found == pytest.approx((0.01, 4.0, 1.0))
    assert growth.line([(100, 5.0)]) is None
    assert growth.per_model([(100, 5.0)]) is None
    assert growth.exponent([(100, 0.0), (200, 1.0)]) is None


def made(models: int, seconds: float, *, each: float = 3.0, **more: Any) -> Trial:
    counts = Counter({PATCHED: round(each * models)})
    return Trial(**{
        "models": models, "applied": 1.0, "ready": seconds, "settled": seconds + 1, "waits": [0.1] * models,
        "usage": Usage(peak_pss=1 << 28, peak_rss=1 << 28, cpu=seconds / 2), "told": counts, "refused": Counter(),
        "audited": counts, "read": Counter(), "leases": 3, "configurations": 2, "files_asked": models, "problems": [],
        **more})


def goals(*trials: Trial, load: float = 0.0) -> list[bool | None]:
    found = report.document(trials, environment={}, settings={}, load_before=load)
    return [each["met"] for each in found["goals"]]


def test_goals_are_met_missed_or_not_told() -> None:
    fine = made(125, 5.0), made(500, 20.0)
    assert goals(*fine) == [True, True]
    assert goals(made(125, 5.0, each=4.1), made(500, 20.0)) == [False, True], "the worst trial counts"
    assert goals(made(125, 5.0), made(500, 31.0)) == [True, False]
    assert goals(made(125, 5.0)) == [True, None], "one number of Models says nothing of growth"
    assert goals(*fine, load=2.0) == [True, None], "others were busy: writes can be told, times can't"
    busy = Usage(cpu=1.0, others=20.0)
    assert goals(made(125, 5.0, usage=busy), made(500, 20.0)) == [True, None]


def test_a_count_that_is_doubted_is_no_count() -> None:
    found = report.document([made(125, 5.0, told=Counter({PATCHED: 374}))], environment={}, settings={}, load_before=0)
    assert (found["valid"], found["claim"]) == (False, False)
    (problem,) = found["problems"]
    assert problem == ("125 Models: patch models-status: the operator counts 374, the API server's audit log has 375")
    assert [each["met"] for each in found["goals"]] == [None, None]
    assert not report.document([made(125, 5.0, problems=["it crashed"])], environment={}, settings={},
                               load_before=0)["valid"]


def test_medians_are_over_trials_and_shares_by_model() -> None:
    found = report.document([made(100, 2.0), made(100, 9.0), made(100, 4.0)], environment={}, settings={},
                            load_before=0)["models"]["100"]
    assert (found["trials"], found["seconds_until_ready"], found["milliseconds_per_model"]) == (3, 4.0, 40.0)
    assert found["writes_per_model_by_kind"] == {"patch models-status": 3.0}
    assert found["seconds_until_ready_of_each_trial"] == [2.0, 9.0, 4.0]


async def test_each_file_has_the_digest_that_its_source_names() -> None:
    files = Files(b"GGUF and more")
    files.port = 80
    digests = set()
    for number in range(3):
        source = files.source(number)["http"]
        request = make_mocked_request("GET", f"/{number}/tiny.gguf", match_info={"number": str(number)})
        body = (await files.serve(request)).body
        assert isinstance(body, bytes)
        assert hashlib.sha256(body).hexdigest() == source["sha256"]
        digests.add(source["sha256"])
        for start, end in ((0, 4), (2, 15), (11, 15), (14, 99)):
            part = make_mocked_request("GET", f"/{number}/tiny.gguf", headers={"Range": f"bytes={start}-{end}"},
                                       match_info={"number": str(number)})
            assert (await files.serve(part)).body == body[start:end + 1]
    assert len(digests) == 3


def test_every_run_begins_with_another_number_of_models() -> None:
    assert [command.order([125, 250, 500], run)[0] for run in range(4)] == [125, 250, 500, 125]
    assert command.arguments(["--models", "40", "--models", "20"]).models == [20, 40]
    with pytest.raises(SystemExit):
        command.arguments(["--runs", "0"])
