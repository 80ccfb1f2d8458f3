"""The parts of a pod that a RuntimePool hands on to Kubernetes, under Kubernetes' own names."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from paddock_api.fields import LabelKey, LabelKeys, LabelValue, Name, Spec
from paddock_api.quantity import Quantity

_PERCENT = r"^(100|[1-9][0-9]?)%$"


def _count_or_percent(value: Any) -> int | str:
    count = isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31
    if count or (isinstance(value, str) and re.fullmatch(_PERCENT, value, re.ASCII)):
        return value  # type: ignore[no-any-return]  # an int or a str, as was just asked
    raise ValueError("must be a whole number of at least 1, or a percentage such as 25%")


CountOrPercent = Annotated[int | str, PlainValidator(_count_or_percent), WithJsonSchema({
    "x-kubernetes-int-or-string": True, "pattern": _PERCENT, "maxLength": 4, "minimum": 1})]
Amounts = Annotated[dict[str, Quantity], Field(max_length=32), *LabelKeys]


class ImagePullPolicy(StrEnum):
    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class ImagePullSecret(Spec):
    """A Secret with the registry's credentials, in the pool's namespace."""

    name: Annotated[Name, Field(description="Name of the Secret.")]


class Resources(Spec):
    """What the container asks for and may take at most."""

    requests: Annotated[Amounts | None, Field(description=(
        "What is set aside for the container, such as cpu: 2. Not set for memory: as its limit."))] = None
    limits: Annotated[Amounts | None, Field(description=(
        "What the container may take at most, such as cpu: 4 or nvidia.com/gpu: 1. Not set for memory: spec.memory and "
        "512Mi for the pod itself."))] = None


class Toleration(Spec):
    """A taint of nodes that the pods accept."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
         "value: remove it, or use operator Equal; Exists takes any value"),
        ("has(self.key) || (has(self.operator) && self.operator == 'Exists')",
         "key: give one, or operator Exists to tolerate every taint"),
        ("!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
         "tolerationSeconds: remove it, or set effect to NoExecute"),
    )

    key: Annotated[LabelKey | None, Field(description="Key of the taint. Not set, with Exists: every key.")] = None
    operator: Annotated[Literal["Equal", "Exists"], Field(description=(
        "Equal: the taint has this value. Exists: whatever its value."))] = "Equal"
    value: Annotated[LabelValue | None, Field(description="Value of the taint, for Equal.")] = None
    effect: Annotated[Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None, Field(description=(
        "Effect of the taint. Not set: every effect."))] = None
    toleration_seconds: Annotated[int | None, Field(ge=0, le=2**31 - 1, description=(
        "For NoExecute: seconds that a pod stays on a node with the taint. Not set: for ever."))] = None

    @model_validator(mode="after")
    def _as_kubernetes_wants(self) -> Toleration:
        broken = (
            self.operator == "Exists" and bool(self.value),
            self.key is None and self.operator != "Exists",
            self.toleration_seconds is not None and self.effect != "NoExecute",
        )
        for wrong, (_, message) in zip(broken, self.rules, strict=True):
            if wrong:
                raise ValueError(message)
        return self


class RollingUpdate(Spec):
    """How a StatefulSet replaces its pods."""

    max_unavailable: Annotated[CountOrPercent | None, Field(description=(
        "Most pods that may be missing during an update, as a number or like 25%. Not set: 1."))] = None
    partition: Annotated[int | None, Field(ge=0, le=1000, description=(
        "Only pods with this ordinal or a higher one are updated. Not set: 0, all."))] = None


class UpdateStrategy(Spec):
    """How pods are replaced when the pool changes."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!has(self.rollingUpdate) || !has(self.type) || self.type == 'RollingUpdate'",
         "rollingUpdate: remove it, or set type to RollingUpdate"),
    )

    type: Annotated[Literal["RollingUpdate", "OnDelete"], Field(description=(
        "RollingUpdate: one after the other, highest ordinal first. OnDelete: when somebody deletes them."))
    ] = "RollingUpdate"
    rolling_update: Annotated[RollingUpdate | None, Field(description="Details of RollingUpdate.")] = None

    @model_validator(mode="after")
    def _details_fit(self) -> UpdateStrategy:
        if self.rolling_update is not None and self.type != "RollingUpdate":
            raise ValueError(self.rules[0][1])
        return self
