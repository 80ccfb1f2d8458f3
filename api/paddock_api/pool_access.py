"""Which namespaces' Models a RuntimePool runs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from paddock_api.fields import AsSet, DnsLabel, LabelKey, Labels, LabelValue, Spec


class SelectorOperator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class Requirement(Spec):
    """One demand on a namespace's labels."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
         "values: give at least one with In and NotIn, none with Exists and DoesNotExist"),
    )

    key: Annotated[LabelKey, Field(description="Key of the label.")]
    operator: Annotated[SelectorOperator, Field(description=(
        "In: the label has one of the values. NotIn: it has none of them, or is missing. Exists: it is there. "
        "DoesNotExist: it is missing."))]
    values: Annotated[list[LabelValue], Field(max_length=64, description="Values for In and NotIn.",
                                              json_schema_extra={"x-kubernetes-list-type": "atomic"})
                      ] = Field(default_factory=list)

    @model_validator(mode="after")
    def _values_fit(self) -> Requirement:
        if (self.operator in (SelectorOperator.IN, SelectorOperator.NOT_IN)) != bool(self.values):
            raise ValueError(self.rules[0][1])
        return self

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.operator is SelectorOperator.EXISTS:
            return self.key in labels
        if self.operator is SelectorOperator.DOES_NOT_EXIST:
            return self.key not in labels
        return (labels.get(self.key) in self.values) == (self.operator is SelectorOperator.IN)


class LabelSelector(Spec):
    """Labels that a namespace must have: all of what is demanded. An empty selector takes every namespace."""

    match_labels: Annotated[Labels, Field(description="Labels with their values.")] = Field(default_factory=dict)
    match_expressions: Annotated[list[Requirement], Field(max_length=64, description=(
        "Further demands on labels."), json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = Field(default_factory=list)

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.match_labels.items()) \
            and all(demand.matches(labels) for demand in self.match_expressions)


class AllowedNamespaces(Spec):
    """Namespaces whose Models may use the pool, besides the pool's own."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!(has(self.all) && self.all) || !(has(self.names) || has(self.selector))",
         "all: remove it, or remove names and selector, which would mean nothing beside it"),
    )

    all: Annotated[bool, Field(description="Every namespace may use the pool.")] = False
    names: Annotated[list[DnsLabel] | None, Field(max_length=256, description=(
        "These namespaces may use the pool, and those that selector takes.")), *AsSet
    ] = None
    selector: Annotated[LabelSelector | None, Field(description=(
        "Namespaces with these labels may use the pool, and those in names."))] = None

    @model_validator(mode="after")
    def _all_stands_alone(self) -> AllowedNamespaces:
        if self.all and (self.names is not None or self.selector is not None):
            raise ValueError(self.rules[0][1])
        return self


def may_use(
    allowed: AllowedNamespaces | None, *, pool_namespace: str, namespace: str, labels: Mapping[str, str]
) -> bool:
    """True if Models of `namespace`, which has these labels, may use a pool of `pool_namespace`."""
    if namespace == pool_namespace:
        return True
    if allowed is None:
        return False
    return allowed.all or namespace in (allowed.names or ()) \
        or (allowed.selector is not None and allowed.selector.matches(labels))
