"""The API server takes the examples of the cluster as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.integration.crds.client import Api
from tests.integration.crds.conftest import NAMESPACE

EXAMPLES = sorted((Path(__file__).resolve().parents[3] / "examples" / "cluster").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_taken_and_kept_as_written(path: Path, api: Api) -> None:
    document = yaml.safe_load(path.read_text())
    document["metadata"]["namespace"] = NAMESPACE  # it names one that is not here
    made = api.create(document, dry_run=True)
    assert made.message == ""
    assert made.body["spec"] == document["spec"]
