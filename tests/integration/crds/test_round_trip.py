"""What a user or the operator writes is what comes back: nothing is dropped, nothing filled in, no zero lost."""

from __future__ import annotations

from typing import Any

import pytest

from paddock_api.crd import field_schema
from paddock_api.kinds import KINDS, Kind
from paddock_api.manifest import parse
from paddock_api.metadata import API_VERSION
from tests.integration.crds.client import Api
from tests.integration.crds.samples import Sample, documents, part_type, wanted

# Empty values that the resource's own rules refuse (test_bad_specs.py has them).
REFUSED = {
    "Model": {"source", "engine.adapters.[].source"},
    "RuntimePool": {"memory", "disk", "cache", "cache.volumeClaimTemplate.size"},
    "ModelHub": {"import.template.spec.engine.adapters.[].source"},
}
ids = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def resource(kind: Kind, name: str, **parts: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind.name, "metadata": {"name": name}, **parts}


def samples(kind: Kind, part: str) -> list[Sample]:
    return documents(part_type(kind.type, part))


@ids
@pytest.mark.parametrize("part", ["spec", "status"])
def test_the_samples_show_every_field_and_every_empty_value(kind: Kind, part: str) -> None:
    shown = frozenset[Any]().union(*(sample.shows for sample in samples(kind, part)))
    missing = set(wanted(field_schema(part_type(kind.type, part)))) - shown
    assert {".".join(path) for path, _ in missing} == (REFUSED[kind.name] if part == "spec" else set())
    assert not any(what == "another" for _, what in missing)


@ids
def test_every_field_of_a_spec_comes_back_as_it_was_written(kind: Kind, api: Api) -> None:
    for number, sample in enumerate(samples(kind, "spec")):
        sent = resource(kind, f"spec-{number}", spec=sample.value)
        answer = api.create(sent)
        assert answer.status == 201, f"{sample.value}: {answer.message}"
        stored = api.get(kind.name, f"spec-{number}")
        assert stored["spec"] == sample.value
        assert "status" not in stored
        read = parse(kind.type, stored)
        assert read.model_dump(mode="json")["spec"] == sample.value, "the types write what they read"
        applied = api.apply(resource(kind, f"spec-{number}", spec=read.model_dump(mode="json")["spec"]))
        assert applied.body["metadata"]["generation"] == 1, "and to apply that changes nothing"


@ids
def test_every_field_of_a_status_comes_back_as_it_was_written(kind: Kind, api: Api) -> None:
    spec = samples(kind, "spec")[0].value
    assert api.apply(resource(kind, "status", spec=spec)).status in (200, 201)
    for sample in samples(kind, "status"):
        answer = api.put_status({**api.get(kind.name, "status"), "status": sample.value})
        assert answer.status == 200, f"{sample.value}: {answer.message}"
        stored = api.get(kind.name, "status")
        assert stored.get("status", {}) == sample.value
        assert stored["spec"] == spec
        assert stored["metadata"]["generation"] == 1, "a status is no new wish"
        read = parse(kind.type, stored, with_status=True).model_dump(mode="json", exclude_unset=True)
        assert read.get("status", {}) == sample.value


@ids
def test_a_status_in_a_manifest_is_not_taken(kind: Kind, api: Api) -> None:
    made = api.create(resource(kind, "liar", spec=samples(kind, "spec")[0].value, status={"observedGeneration": 7}))
    assert made.status == 201
    assert "status" not in made.body
