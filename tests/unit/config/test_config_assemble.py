"""From documents to a pool configuration: what becomes of each, and how faults are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paddock_runtime.config.assemble import Assembly, assemble

FOLDER = Path("/srv/models")
SHA = "ab" * 32


def model(name: str = "gemma", *, namespace: str | None = None, source: str = "file: {path: gemma.gguf}",
          extra: str = "") -> str:
    space = f", namespace: {namespace}" if namespace else ""
    return (f"apiVersion: paddock.dev/v1alpha1\nkind: Model\nmetadata: {{name: {name}{space}}}\n"
            f"spec:\n  source: {{{source}}}\n{extra}")


def put(**files: str) -> Assembly:
    return assemble({f"{name}.yaml": text.encode() for name, text in files.items()}, folder=FOLDER, volumes=("shared",))


def problems(**files: str) -> list[str]:
    return [str(problem) for problem in put(**files).problems]


def test_a_model_becomes_an_entry_whose_spec_stays_as_written() -> None:
    assembly = put(a=model())
    assert assembly.problems == []
    entry = assembly.entries["default/gemma"]
    assert (entry.namespace, entry.name) == ("default", "gemma")
    assert entry.desired.spec.source.file is not None
    assert entry.desired.spec.source.file.path == "gemma.gguf"
    assert entry.desired.resolution.files == ["/srv/models/gemma.gguf"]
    assert entry.last_good is None


@pytest.mark.parametrize(
    ("path", "resolved"),
    [("../weights/a.gguf", "/srv/weights/a.gguf"), ("/data/a.gguf", "/data/a.gguf"),
     ("./sub/a.gguf", "/srv/models/sub/a.gguf")])
def test_paths_resolve_against_the_folder(path: str, resolved: str) -> None:
    entry = put(a=model(source=f"file: {{path: {path}}}")).entries["default/gemma"]
    assert entry.desired.resolution.files == [resolved]


def test_digests_are_part_of_the_resolution() -> None:
    entry = put(a=model(source=f"http: {{url: 'https://example.org/a.gguf', sha256: {SHA}}}")).entries["default/gemma"]
    assert entry.desired.resolution.sha256 == SHA
    assert entry.desired.resolution.files == []
    entry = put(a=model(source=f"file: {{path: a.gguf, volume: shared, sha256: {SHA}}}")).entries["default/gemma"]
    assert (entry.desired.resolution.sha256, entry.desired.resolution.files) == (SHA, [])


def test_lists_and_many_documents() -> None:
    items = [json.loads(json.dumps({"apiVersion": "paddock.dev/v1alpha1", "kind": "Model", "metadata": {"name": name},
                                    "spec": {"source": {"file": {"path": "x"}}}})) for name in ("one", "two")]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    assembly = assemble({"list.json": listed.encode(), "more.yml": f"{model('three')}---\n{model('four')}".encode()},
                        folder=FOLDER)
    assert sorted(assembly.entries) == ["default/four", "default/one", "default/three", "default/two"]


def test_a_fault_in_a_list_names_the_item() -> None:
    text = ("apiVersion: v1\nkind: List\nitems:\n- apiVersion: paddock.dev/v1alpha1\n  kind: Model\n"
            "  metadata: {name: x}\n  spec: {source: {file: {path: y}}, engine: {parallel: 0}}\n")
    assert problems(a=f"# first\n---\n{text}") == [
        "a.yaml, document 1: items[0].spec.engine.parallel: must be at least 1 (it is 0)"]


def test_faults_name_file_document_field_and_remedy() -> None:
    bad = model("b", extra="  engine: {contextlength: 5, parallel: 'x'}\n")
    found = problems(fine=model(), wrong=f"{model('a')}---\n{bad}")
    assert len(found) == 2
    assert all(line.startswith("wrong.yaml, document 2: spec.engine.") for line in found)
    assert any("did you mean contextLength" in line for line in found)


def test_other_kinds_are_passed_over_with_a_notice() -> None:
    others = ("apiVersion: v1\nkind: ConfigMap\n", "apiVersion: serving.example/v1\nkind: Model\n",
              "apiVersion: paddock.dev/v1alpha1\nkind: ModelHub\n")
    assembly = put(a="---\n".join([others[0], model(), *others[1:]]))
    assert assembly.problems == []
    assert list(assembly.entries) == ["default/gemma"]
    assert [(notice.document, "ignored" in notice.message) for notice in assembly.notices] == [
        (1, True), (3, True), (4, True)]


@pytest.mark.parametrize("text", ["just text", "[1, 2]", "a: 1", "kind: Model", "apiVersion: paddock.dev/v1alpha1",
                                  "apiVersion: paddock.dev/v2\nkind: Model\nmetadata: {name: x}\nspec: {source: {}}",
                                  "apiVersion: 1\nkind: Model", "kind: [x]\napiVersion: v1"])
def test_what_is_no_manifest_is_a_fault(text: str) -> None:
    assembly = put(a=text)
    assert assembly.problems
    assert assembly.problems[0].document == 1


def test_one_name_declared_twice_names_both_places() -> None:
    [line] = problems(a=model(), b=f"{model('x')}---\n{model()}")
    assert line.startswith("b.yaml, document 2: metadata.name: ")
    assert "a.yaml, document 1" in line


def test_one_name_in_two_namespaces_is_fine() -> None:
    assembly = put(a=model(namespace="red"), b=model(namespace="blue"), c=model())
    assert assembly.problems == []
    assert sorted(assembly.entries) == ["blue/gemma", "default/gemma", "red/gemma"]


@pytest.mark.parametrize(("first", "second", "clash"), [
    (model("a", extra="  aliases: [gpt]\n"), model("b", extra="  aliases: [gpt]\n"), True),
    (model("gpt"), model("b", extra="  aliases: [gpt]\n"), True),
    (model("a", extra="  aliases: [gpt]\n"), model("gpt"), True),
    (model("a", extra="  aliases: [a]\n"), model("b"), False),
    (model("a", namespace="red", extra="  aliases: [gpt]\n"), model("b", extra="  aliases: [gpt]\n"), False)])
def test_an_alias_stands_for_one_model_in_its_namespace(first: str, second: str, clash: bool) -> None:
    found = problems(first=first, second=second)
    assert bool(found) is clash
    assert all("first.yaml" in line and "second.yaml" in line and "spec.aliases" in line for line in found)


@pytest.mark.parametrize(("source", "field"), [
    ("huggingFace: {repo: a/b}", "spec.source.huggingFace"), ("hub: {name: h, model: m}", "spec.source.hub"),
    ("file: {path: x, volume: nowhere}", "spec.source.file.volume")])
def test_sources_of_later_versions_are_refused_clearly(source: str, field: str) -> None:
    [line] = problems(a=model(source=source))
    assert line.startswith(f"a.yaml, document 1: {field}: ")


def test_adapters_are_held_to_the_same_rules() -> None:
    adapters = "  engine: {adapters: [{source: {file: {path: x.gguf}}}, {source: {huggingFace: {repo: a/b}}}]}\n"
    found = problems(a=model(extra=adapters))
    assert [line.split(": ")[1] for line in found] == [
        "spec.engine.adapters[0].source.file.path", "spec.engine.adapters[1].source.huggingFace"]


def test_there_is_a_limit_to_documents() -> None:
    many = "apiVersion: v1\nkind: ConfigMap\n---\n" * 5001
    assert any("10000 documents" in line for line in problems(a=many, b=many))
