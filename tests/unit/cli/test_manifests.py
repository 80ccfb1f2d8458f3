"""A spec is put in the place of another; nothing else in the file changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from paddock_cli.errors import CommandError
from paddock_cli.manifests import find, put_spec

SPEC: dict[str, Any] = {"source": {"file": {"path": "/new.gguf"}}, "aliases": ["x:1"],
                        "defaults": {"systemPrompt": "one\ntwo\n", "seed": 0}}
HEAD = "apiVersion: paddock.dev/v1alpha1\nkind: Model\n"
LIST = """apiVersion: v1
kind: List
items:
- apiVersion: paddock.dev/v1alpha1
  kind: Model
  metadata: {name: second, namespace: team}
  spec:
    source: {file: {path: /old.gguf}}
- kind: Other
  apiVersion: v1
"""
FLOW = """{"apiVersion": "paddock.dev/v1alpha1", "kind": "Model", "metadata": {"name": "second", "namespace": "team"},
 "spec": {"source": {"file": {"path": "/old.gguf"}}}}"""
SHARED = f"""{HEAD}metadata: {{name: second, namespace: team}}
spec: &t
  source: {{file: {{path: /b}}}}
status: *t
"""
FILE = f"""# The whole file's comment
{HEAD}metadata:
  name: first  # stays
spec:
  source: {{file: {{path: /first.gguf}}}}
---
{HEAD}metadata: {{name: second, namespace: team}}
spec:  # of the old spec
  source:
    file: {{path: /old.gguf}}
  engine:
    chatTemplate: |
      a
      b

# before the status
status: {{}}
---
# a last word
{HEAD}metadata: {{name: third}}
spec: {{source: {{file: {{path: /third.gguf}}}}}}
"""


def put(tmp_path: Path, text: str, name: str = "m.yaml", namespace: str = "team", model: str = "second") -> str:
    path = tmp_path / name
    path.write_text(text)
    path.chmod(0o640)
    put_spec(find(tmp_path, namespace, model), SPEC)
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert path.stat().st_mode & 0o777 == 0o640
    return path.read_text()


def test_comments_and_other_documents_stay(tmp_path: Path) -> None:
    fresh = put(tmp_path, FILE)
    before, after = list(yaml.safe_load_all(FILE)), list(yaml.safe_load_all(fresh))
    before[1]["spec"] = SPEC
    assert after == before
    start, end = FILE.index("spec:  # of"), FILE.index("\n# before")
    assert fresh.startswith(FILE[:start])
    assert fresh.endswith(FILE[end:])


@pytest.mark.parametrize("model", ["first", "third"])
def test_each_document_can_be_the_one(tmp_path: Path, model: str) -> None:
    fresh = list(yaml.safe_load_all(put(tmp_path, FILE, namespace="default", model=model)))
    assert [each["metadata"]["name"] for each in fresh if each["spec"] == SPEC] == [model]


@pytest.mark.parametrize("text", [
    LIST, FLOW,
    f"{HEAD}spec:\n  source: {{file: {{path: /old.gguf}}}}\nmetadata:\n  name: second\n  namespace: team",
    f"{HEAD}metadata: {{name: second, namespace: team}}\nspec:\n  source: {{file: {{path: /old.gguf}}}}",
])
def test_lists_flow_style_and_any_order(tmp_path: Path, text: str) -> None:
    fresh, before = yaml.safe_load(put(tmp_path, text)), yaml.safe_load(text)
    (before["items"][0] if "items" in before else before)["spec"] = SPEC
    assert fresh == before


def test_json_stays_json(tmp_path: Path) -> None:
    assert put(tmp_path, FLOW, "m.json").startswith('{\n  "apiVersion"')


def test_what_can_not_be_changed_without_harm_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(SHARED)
    with pytest.raises(CommandError, match="anchors"):
        put_spec(find(tmp_path, "team", "second"), SPEC)
    assert path.read_text() == SHARED


def test_a_file_that_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(FILE)
    found = find(tmp_path, "team", "second")
    path.write_text(FILE + "# by somebody else\n")
    with pytest.raises(CommandError, match="changed just now"):
        put_spec(found, SPEC)
    assert path.read_text().endswith("# by somebody else\n")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("{")
    with pytest.raises(CommandError, match="holds no manifest"):
        find(tmp_path, "team", "second")
    with pytest.raises(CommandError, match="is not on this machine"):
        find(tmp_path / "none", "team", "second")
