"""`paddock plan` as its user runs it, and its figures against a pod that loads the same Models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paddock_cli.__main__ import main
from tests.lifecycle_kit import MIB, entry, running
from tests.models import gemma
from tests.pod_kit import write_gemma, write_model

SHA = "0" * 64


def planned(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    assert main(["plan", *map(str, arguments), "--output", "json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


async def test_the_plan_s_bytes_are_what_the_pod_charges(
        tmp_path: Path, gemma: Path, minilm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = tmp_path / "models"
    models.mkdir()
    write_model(models, "gemma", gemma)
    write_model(models, "minilm", minilm)
    report = planned(capsys, models, "--memory", "2Gi", "--cache", tmp_path / "none")
    assert not (tmp_path / "none").exists(), "a plan leaves nothing behind"
    rows = {row["name"]: row for row in report["models"]}
    async with running(tmp_path) as pod:
        pod.apply(entry("gemma", gemma), entry("minilm", minilm))
        assert (await pod.ask("gemma")).error is None
        assert (await pod.embed("minilm", "a cat")).error is None
        for name in ("gemma", "minilm"):
            row = rows[f"default/{name}"]
            assert row["totalBytes"] == pod.model(name).estimated_bytes
            assert row["state"] == "fits"
            parts = ("weightsBytes", "cacheBytes", "computeBytes", "adapterBytes")
            assert sum(row[part] for part in parts) == row["totalBytes"]
            assert row["coldSecondsEstimated"] > 0
    assert rows["default/gemma"]["cacheBytes"] > rows["default/minilm"]["cacheBytes"] == 0
    assert report["usedBytes"] == sum(row["totalBytes"] for row in rows.values())


def test_who_leaves_for_whom_what_never_fits_and_what_can_not_be_known(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_gemma(tmp_path, gemma(), name="a")
    write_gemma(tmp_path, gemma(), name="b", contextLength=1024)
    write_gemma(tmp_path, gemma(), name="huge", cacheTokens=1_000_000)
    far = {"http": {"url": "https://models.example/x.gguf", "sha256": SHA}}
    write_model(tmp_path, "far", tmp_path, source=far)
    write_model(tmp_path, "gone", tmp_path / "gone.gguf")
    both = planned(capsys, tmp_path, "--memory", "2Gi")
    rows = {row["name"]: row for row in both["models"]}
    assert rows["default/a"]["state"] == rows["default/b"]["state"] == "fits"
    assert both["usedBytes"] < rows["default/a"]["totalBytes"] + rows["default/b"]["totalBytes"], "weights are shared"
    assert rows["default/huge"]["state"] == "refused"
    assert rows["default/far"] == {
        "name": "default/far", "state": "unknown",
        "reason": "not fetched yet: its size can't be known without the network"}
    assert "there is no file" in rows["default/gone"]["reason"]
    tight = max(rows["default/a"]["totalBytes"], rows["default/b"]["totalBytes"])
    one = {row["name"]: row for row in planned(capsys, tmp_path, "--memory", str(tight))["models"]}
    assert one["default/a"]["state"] == "fits"
    assert one["default/b"]["evicts"] == ["default/a"]


def test_a_recorded_usage_is_replayed_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_gemma(tmp_path, gemma())
    usage = tmp_path / "usage.jsonl"
    other = {"model": "other", "weightsBytes": 500 * MIB, "contextBytes": MIB, "loadSeconds": 4}
    asked = [{"time": 20 * number, "model": ["gemma", "other"][number % 2], "completionTokens": 50}
             for number in range(10)]
    usage.write_text("\n".join(json.dumps(line) for line in [other, *asked]))
    report = planned(capsys, tmp_path, "--memory", "900Mi", "--usage", usage)
    assert [(row["policy"], row["memoryBytes"] // MIB) for row in report["replay"]] == [
        (policy, size) for size in (450, 900, 1800) for policy in ("paddock", "lru", "priority")]
    assert {row["requests"] + row["refused"] for row in report["replay"]} == {10}
    assert report["replay"][-1]["loads"] == 2, "both fit in twice as much"
    assert main(["plan", str(tmp_path), "--memory", "900Mi", "--usage", str(usage)]) == 0
    shown = capsys.readouterr().out
    for word in ("default/gemma", "KV CACHE", "COLD (EST.)", "plain LRU", "priority only", "estimate"):
        assert word in shown
    usage.write_text('{"time": 1, "model": "nobody", "seconds": 1}')
    assert main(["plan", str(tmp_path), "--usage", str(usage)]) == 1
    assert "line 1: there is no Model 'nobody'" in capsys.readouterr().err


def test_bad_manifests_get_the_errors_of_serve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text("kind: Model\napiVersion: paddock.dev/v1alpha1\nmetadata: {name: x}\nspec: {}\n")
    said = []
    for command in ("plan", "serve"):
        assert main([command, str(tmp_path), "--cache", str(tmp_path / "c")]) == 1
        said.append(capsys.readouterr().err)
    assert said[0] == said[1]
    assert "spec.source" in said[0]
    assert main(["plan", str(tmp_path / "none")]) == 1
    assert "is not a directory" in capsys.readouterr().err
