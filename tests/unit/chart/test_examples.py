"""The examples are valid, complete, and fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from paddock_api.kinds import KINDS
from paddock_api.manifest import parse
from paddock_api.model import Model
from paddock_api.pool_access import may_use
from paddock_api.runtime_pool import RuntimePool

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "examples").rglob("*.yaml"))
CLUSTER = sorted((ROOT / "examples" / "cluster").glob("*.yaml"))
TYPES = {kind.name: kind.type for kind in KINDS}


def read(path: Path) -> dict[str, Any]:
    [document] = yaml.safe_load_all(path.read_text())
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_is_valid_and_explains_itself(path: Path) -> None:
    text, document = path.read_text(), read(path)
    assert parse(TYPES[document["kind"]], document).model_dump(mode="json")["spec"] == document["spec"]
    assert text.startswith("# "), "what it shows"


def test_the_cluster_s_examples_show_a_pool_and_each_kind_of_source() -> None:
    models = [parse(Model, read(path)) for path in CLUSTER if read(path)["kind"] == "Model"]
    assert {name for model in models for name in model.spec.source.model_fields_set} == {"file", "http", "hugging_face"}
    assert sum(read(path)["kind"] == "RuntimePool" for path in CLUSTER) == 1


def test_what_models_name_the_pool_has_and_lets_them_use() -> None:
    [pool] = [parse(RuntimePool, read(path)) for path in CLUSTER if read(path)["kind"] == "RuntimePool"]
    named = [parse(Model, read(path)) for path in CLUSTER if "poolRef" in read(path)["spec"]]
    assert named
    for model in named:
        assert model.spec.pool_ref is not None
        assert (model.spec.pool_ref.namespace, model.spec.pool_ref.name) == (
            pool.metadata.namespace, pool.metadata.name)
        assert may_use(pool.spec.allowed_namespaces, pool_namespace=pool.metadata.namespace,
                       namespace=model.metadata.namespace, labels={})
        file = model.spec.source.file
        assert file is None or file.volume in {volume.name for volume in pool.spec.volumes}
