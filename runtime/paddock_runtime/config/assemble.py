"""From the documents of all files to one pool configuration, or to everything that is wrong with them. Pure."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paddock_api.identity import ModelId
from paddock_api.manifest import ManifestError, parse_model
from paddock_api.model import Model, ModelSpec
from paddock_api.pool import PoolEntry
from paddock_api.revision import Resolution, revision_of
from paddock_api.source import FileSource, Source
from paddock_runtime.config.documents import Unreadable, parse
from paddock_runtime.config.problem import ConfigProblem

MAX_DOCUMENTS = 10_000
_GROUP = "paddock.dev"


@dataclass(frozen=True)
class Place:
    """A document, or with `prefix` (`items[3]`) a part of it."""

    file: str
    document: int
    prefix: str = ""

    def problem(self, field: str | None, message: str) -> ConfigProblem:
        return ConfigProblem(self.file, self.document, ".".join(filter(None, (self.prefix, field))) or None, message)

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.file, f"document {self.document}", self.prefix)))


@dataclass
class Assembly:
    """`entries` are to be used only when there is no problem: one bad document spoils the whole, never half of it."""

    entries: dict[str, PoolEntry] = field(default_factory=dict)
    problems: list[ConfigProblem] = field(default_factory=list)
    notices: list[ConfigProblem] = field(default_factory=list)
    places: dict[ModelId, Place] = field(default_factory=dict)


def assemble(files: Mapping[str, bytes], *, folder: Path, volumes: Collection[str] = ()) -> Assembly:
    """`files` by name; relative `source.file.path`s are taken from `folder`. `volumes` are the names Models may use."""
    assembly = Assembly()
    count = 0
    for name in sorted(files):
        try:
            documents = parse(files[name], is_json=name.lower().endswith(".json"))
        except Unreadable as error:
            assembly.problems.append(ConfigProblem(name, error.document, None, error.message))
            continue
        for number, document in enumerate(documents, start=1):
            for place, part in _parts(Place(name, number), document):
                count += 1
                if count > MAX_DOCUMENTS:
                    assembly.problems.append(place.problem(None, f"there are more than {MAX_DOCUMENTS} documents"))
                    return assembly
                _take(assembly, place, part, folder, volumes)
    assembly.problems += _name_clashes(assembly)
    return assembly


def _parts(place: Place, document: Any) -> Iterator[tuple[Place, Any]]:
    """The document itself, or what a List holds."""
    if document is None:
        return
    if isinstance(document, dict) and _is_list(document) and isinstance(document.get("items"), list):
        for index, item in enumerate(document["items"]):
            prefix = ".".join(filter(None, (place.prefix, f"items[{index}]")))
            yield from _parts(Place(place.file, place.document, prefix), item)
    else:
        yield place, document


def _is_list(document: dict[str, Any]) -> bool:
    kind, version = document.get("kind"), document.get("apiVersion")
    return (kind == "List" and version == "v1") or (kind == "ModelList" and str(version).startswith(f"{_GROUP}/"))


def _take(assembly: Assembly, place: Place, document: Any, folder: Path, volumes: Collection[str]) -> None:
    if not isinstance(document, dict):
        assembly.problems.append(place.problem(None, "a manifest is a mapping: apiVersion, kind, metadata, spec"))
        return
    kind, version = document.get("kind"), document.get("apiVersion")
    foreign = isinstance(version, str) and version.partition("/")[0] != _GROUP
    if isinstance(kind, str) and (kind != "Model" or foreign):
        assembly.notices.append(place.problem("kind", f"{kind[:100]!r} ({str(version)[:100]}) is ignored: "
                                                      f"only Models of {_GROUP} are read from a directory"))
        return
    try:
        model = parse_model(document)
    except ManifestError as error:
        assembly.problems += [place.problem(problem.path or None, problem.message) for problem in error.problems]
        return
    _add(assembly, place, model, folder, volumes)


def _add(assembly: Assembly, place: Place, model: Model, folder: Path, volumes: Collection[str]) -> None:
    refused = _refusals(model.spec, volumes)
    if refused:
        assembly.problems += [place.problem(field, message) for field, message in refused]
        return
    known = ModelId(str(model.metadata.namespace), model.metadata.name)
    if known in assembly.places:
        assembly.problems.append(place.problem(
            "metadata.name",
            f"the Model {known} is declared in {assembly.places[known]} already: rename or remove one"))
        return
    assembly.places[known] = place
    assembly.entries[str(known)] = PoolEntry(namespace=known.namespace, name=known.name,
                                             desired=revision_of(model.spec, _resolve(model.spec.source, folder)))


def _refusals(spec: ModelSpec, volumes: Collection[str]) -> list[tuple[str, str]]:
    """(field, message) of what this version can't do."""
    found = _source_refusals("spec.source", spec.source, volumes)
    for index, adapter in enumerate(spec.engine.adapters):
        path = f"spec.engine.adapters[{index}].source"
        found += _source_refusals(path, adapter.source, volumes)
        file = adapter.source.file
        if file is not None and file.volume is None and not os.path.isabs(file.path):
            found.append((f"{path}.file.path", "of an adapter must be absolute, it is not taken from the folder"))
    return found


def _source_refusals(path: str, source: Source, volumes: Collection[str]) -> list[tuple[str, str]]:
    for name, given in (("huggingFace", source.hugging_face), ("hub", source.hub)):
        if given is not None:
            return [(f"{path}.{name}", "is not supported here yet: use http with a sha256, or file with a path")]
    if source.file is not None and source.file.volume is not None and source.file.volume not in volumes:
        known = f"the volumes here are {', '.join(sorted(volumes))}" if volumes else "there are no volumes here"
        return [(f"{path}.file.volume",
                 f"{source.file.volume!r} is not known: {known}; leave volume out to give a path on this machine")]
    return []


def _resolve(source: Source, folder: Path) -> Resolution:
    if isinstance(source.file, FileSource):
        if source.file.volume is not None:
            return Resolution(sha256=source.file.sha256)
        return Resolution(sha256=source.file.sha256, files=[os.path.normpath(folder / source.file.path)])
    return Resolution(sha256=source.http.sha256 if source.http else None)


def _name_clashes(assembly: Assembly) -> list[ConfigProblem]:
    """Within a namespace a name or alias stands for one Model. (Over namespaces a request may be ambiguous.)"""
    owners: dict[tuple[str, str], ModelId] = {(known.namespace, known.name): known for known in assembly.places}
    problems = []
    for known, place in assembly.places.items():
        for alias in assembly.entries[str(known)].desired.spec.aliases:
            owner = owners.setdefault((known.namespace, alias), known)
            if owner != known:
                problems.append(place.problem(
                    "spec.aliases", f"{alias!r} is a name of the Model {owner} already ({assembly.places[owner]}): "
                    "choose another"))
    return problems
