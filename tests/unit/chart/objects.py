"""The goldens as objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from tests.unit.chart.render import GOLDENS

Object = dict[str, Any]
SETS = ("default", "bare", "full")


def objects(name: str) -> list[Object]:
    """All of one golden, in Helm's order."""
    documents = yaml.load_all((GOLDENS / f"{name}.yaml").read_text(), Loader=_Strict)
    return [document for document in documents if document]


def of_kind(found: list[Object], kind: str) -> list[Object]:
    return [each for each in found if each["kind"] == kind]


def named(found: list[Object], kind: str, name: str) -> Object:
    [one] = [each for each in of_kind(found, kind) if each["metadata"]["name"] == name]
    return one


def pods(found: list[Object]) -> Iterator[tuple[str, Object]]:
    """Every pod that the chart brings: (who makes it, metadata and spec)."""
    for each in found:
        name = f"{each['kind']}/{each['metadata']['name']}"
        if each["kind"] == "Pod":
            yield name, each
        elif each["kind"] in ("Deployment", "Job"):
            yield name, each["spec"]["template"]


class _Strict(yaml.SafeLoader):
    """A key that stands twice would quietly lose one of its values."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{twice} stand twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)
