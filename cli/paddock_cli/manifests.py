"""The manifest of one Model in a directory, and another spec in its place: nothing else in the file changes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from paddock_cli.errors import CommandError
from paddock_runtime.config.documents import Unreadable, parse

_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Manifest:
    """`document` is its place in the file, `items` the way on to it when that is a List."""

    path: Path
    data: bytes
    document: int
    items: tuple[int, ...]


def find(directory: Path, namespace: str, name: str) -> Manifest:
    """Raises CommandError."""
    if not directory.is_dir():
        raise CommandError(f"{directory}, which the server serves, is not on this machine: run this command where the "
                           "server runs, or change the manifest there")
    for path in sorted(directory.iterdir()):
        if path.suffix.lower() not in _SUFFIXES or path.name.startswith("."):
            continue
        data = _read(path)
        with contextlib.suppress(Unreadable):  # a file that the server can't read either holds no Model
            for number, document in enumerate(parse(data, is_json=path.suffix.lower() == ".json")):
                for items, part in _parts(document):
                    if _is(part, namespace, name):
                        return Manifest(path, data, number, items)
    raise CommandError(f"{directory} holds no manifest of the Model {namespace}/{name}: was it just removed?")


def put_spec(manifest: Manifest, spec: dict[str, Any]) -> None:
    """Writes the file anew, at once or not at all. Raises CommandError."""
    text = manifest.data.decode("utf-8-sig")
    fresh = with_spec(text, manifest, spec)
    if _read(manifest.path) != manifest.data:
        raise CommandError(f"{manifest.path} was changed just now: look at it, then try again")
    _replace(manifest.path, fresh)


def with_spec(text: str, manifest: Manifest, spec: dict[str, Any]) -> str:
    """The file's text with `spec` in it. Raises CommandError when that can't be done without harm to the rest. Pure."""
    is_json = manifest.path.suffix.lower() == ".json"
    wanted = parse(text.encode(), is_json=is_json)
    part = wanted[manifest.document]
    for item in manifest.items:
        part = part["items"][item]
    part["spec"] = spec
    fresh = json.dumps(wanted[0], indent=2, ensure_ascii=False) + "\n" if is_json else _spliced(text, manifest, spec)
    try:
        same = parse(fresh.encode(), is_json=is_json) == wanted
    except Unreadable:
        same = False
    if not same:
        raise CommandError(f"{manifest.path} is written in a way that can't be changed by a command (anchors?): put "
                           "this spec there yourself:\n" + dump(spec))
    return fresh


def dump(document: Any) -> str:
    """YAML as people write it: in the order of the fields, texts of many lines as blocks."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _parts(document: Any, items: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Any]]:
    if isinstance(document, dict) and isinstance(document.get("items"), list):
        for index, item in enumerate(document["items"]):
            yield from _parts(item, (*items, index))
    else:
        yield items, document


def _is(document: Any, namespace: str, name: str) -> bool:
    if not isinstance(document, dict) or document.get("kind") != "Model":
        return False
    metadata = document.get("metadata")
    return isinstance(metadata, dict) and (metadata.get("namespace") or "default", metadata.get("name")) == (
        namespace, name)


def _spliced(text: str, manifest: Manifest, spec: dict[str, Any]) -> str:
    node = list(yaml.compose_all(text, Loader=yaml.SafeLoader))[manifest.document]
    for item in manifest.items:
        node = _value(node, "items")[1].value[item]
    key, old = _value(node, "spec")
    start, end = old.start_mark.index, _end(old)
    if isinstance(node, yaml.MappingNode) and node.flow_style:
        return text[:start] + json.dumps(spec, ensure_ascii=False) + text[end:]
    indent = " " * (key.start_mark.column + 2)
    lines = "".join(f"{indent}{line}\n" if line else "\n" for line in dump(spec).splitlines())
    rest = text[end:]
    return text[:key.end_mark.index] + ":\n" + lines.rstrip("\n") + (rest if rest.startswith("\n") else "\n" + rest)


def _value(node: yaml.Node, name: str) -> tuple[yaml.Node, yaml.Node]:
    return next((key, value) for key, value in node.value if key.value == name)


def _end(node: yaml.Node) -> int:
    """Where its text ends; a block's own mark stands behind the comments and blank lines that follow it."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _end(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _end(node.value[-1])
    end: int = node.end_mark.index
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        end -= 1  # its line break is the text's
    return end


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"can't read {path}: {error.strerror}") from None


def _replace(path: Path, text: str) -> None:
    """Hidden files are no manifests, so the server never sees half of it. A link stays one."""
    path = path.resolve()
    temporary = None
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False,
                                         encoding="utf-8", newline="") as file:
            temporary = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise CommandError(f"can't write {path}: {error.strerror}") from None
