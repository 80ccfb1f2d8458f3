"""The RuntimePool resource: equal pods that hold Models in memory, and what their owner lets Models use."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from paddock_api.fields import Annotations, Labels, Name, Spec
from paddock_api.metadata import Metadata
from paddock_api.pod_template import ImagePullPolicy, ImagePullSecret, Resources, Toleration, UpdateStrategy
from paddock_api.pool_access import AllowedNamespaces
from paddock_api.pool_status import RuntimePoolStatus
from paddock_api.pool_storage import Cache, Credential, Volume
from paddock_api.quantity import Quantity, parse_quantity, positive

DEFAULT_DRAIN_SECONDS = 30
_POOL_NAME = r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"
_OWN = r"^(paddock[.]dev/.*|app[.]kubernetes[.]io/(name|managed-by))$"
_BY_NAME = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


# What is no quantity the pattern has refused already; here it must only not fail.
_LIMIT_ABOVE_BUDGET = (
    "!has(self.resources) || !has(self.resources.limits) || !('memory' in self.resources.limits)"
    " || !isQuantity(string(self.resources.limits['memory'])) || !isQuantity(string(self.memory))"
    " || quantity(string(self.resources.limits['memory'])).isGreaterThan(quantity(string(self.memory)))")
_CLAIMS_STAY = (
    "(has(self.cache) && has(self.cache.volumeClaimTemplate))"
    " == (has(oldSelf.cache) && has(oldSelf.cache.volumeClaimTemplate))"
    " && (!has(self.cache) || !has(self.cache.volumeClaimTemplate)"
    " || self.cache.volumeClaimTemplate == oldSelf.cache.volumeClaimTemplate)")


class RuntimePoolSpec(Spec):
    """What is wanted."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        positive("memory", "8Gi"),
        positive("disk", "100Gi"),
        (_LIMIT_ABOVE_BUDGET,
         "resources.limits.memory: give more than spec.memory, by about 512Mi for the pod itself, or remove it"),
        (f"!has(self.podLabels) || self.podLabels.all(key, !key.matches('{_OWN}'))",
         "podLabels: remove the labels that Paddock sets itself: paddock.dev/…, app.kubernetes.io/name and managed-by"),
        ("!has(self.podAnnotations) || self.podAnnotations.all(key, !key.startsWith('paddock.dev/'))",
         "podAnnotations: remove those that begin with paddock.dev/; Paddock sets them itself"),
    )
    transition_rules: ClassVar[tuple[tuple[str, str], ...]] = (
        (_CLAIMS_STAY,
         ("cache.volumeClaimTemplate: can't be added, changed or removed, since a StatefulSet's volumes are fixed; "
          "make a RuntimePool of another name")),
    )

    replicas: Annotated[int, Field(ge=0, le=1000, description=(
        "Number of pods; 0 is none. Set it if an autoscaler is to change it: an unset field is no start for one."))] = 1
    memory: Annotated[Quantity, Field(description=(
        "What all engines of one pod may take together, such as 8Gi. Loaded models never exceed it."))]
    disk: Annotated[Quantity | None, Field(description=(
        "Most space for model files in the cache of one pod. Not set: as much as the cache volume has."))] = None
    cache: Annotated[Cache | None, Field(description=(
        "Where pods keep model files and what they remember: exactly one of the three. Not set: emptyDir."))] = None
    image: Annotated[str | None, Field(min_length=1, max_length=512, pattern=r"^[^\s]+$", description=(
        "Image of the pods. Not set: the one that comes with the operator."))] = None
    image_pull_policy: Annotated[ImagePullPolicy | None, Field(description=(
        "When the image is pulled. Not set: Kubernetes' rule, Always for latest and IfNotPresent otherwise."))] = None
    image_pull_secrets: Annotated[list[ImagePullSecret], Field(max_length=16, description=(
        "Secrets for the image's registry, in the pool's namespace."), json_schema_extra=_BY_NAME)
    ] = Field(default_factory=list)
    resources: Annotated[Resources | None, Field(description=(
        "What the container asks for and may take at most: CPU, GPUs and, rarely, memory."))] = None
    node_selector: Annotated[Labels, Field(description=(
        "Labels of the nodes that pods may run on."))] = Field(default_factory=dict)
    tolerations: Annotated[list[Toleration], Field(max_length=32, description=(
        "Taints of nodes that the pods accept."), json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = Field(default_factory=list)
    affinity: Annotated[dict[str, Any] | None, Field(description=(
        "Affinity of the pods, as in a pod's spec. Not set: spread over nodes where possible."))] = None
    runtime_class_name: Annotated[Name | None, Field(description=(
        "RuntimeClass of the pods, such as nvidia."))] = None
    priority_class_name: Annotated[Name | None, Field(description="PriorityClass of the pods.")] = None
    service_account_name: Annotated[Name | None, Field(description=(
        "ServiceAccount of the pods, for image pulls and policies: no token of it is mounted. Not set: default."))
    ] = None
    pod_labels: Annotated[Labels, Field(description=(
        "Further labels of the pods."))] = Field(default_factory=dict)
    pod_annotations: Annotated[Annotations, Field(description=(
        "Further annotations of the pods."))] = Field(default_factory=dict)
    allowed_namespaces: Annotated[AllowedNamespaces | None, Field(description=(
        "Namespaces whose Models may use the pool, besides its own. Not set: none."))] = None
    volumes: Annotated[list[Volume], Field(max_length=32, description=(
        "Volumes with model files that Models may name in spec.source.file.volume."), json_schema_extra=_BY_NAME)
    ] = Field(default_factory=list)
    credentials: Annotated[list[Credential], Field(max_length=32, description=(
        "Tokens for model hubs that Models may name."), json_schema_extra=_BY_NAME)] = Field(default_factory=list)
    share_across_namespaces: Annotated[bool, Field(description=(
        "Models of different namespaces on the same file use one copy of its weights, in one process. Prompts stay "
        "apart, but a crash of the process ends the requests of both. Loaded Models follow a change when they are "
        "loaded again."))
    ] = False
    predictive_preload: Annotated[bool, Field(description=(
        "Load Models into free memory before they are asked, by the time of the day and week and by what is usually "
        "asked after what. They evict nothing, and go first when their memory is needed."))] = False
    predictive_preload_percent: Annotated[int, Field(ge=1, le=100, description=(
        "Most of spec.memory that Models loaded by predictivePreload may take, in percent."))] = 20
    drain_seconds: Annotated[int, Field(ge=0, le=3600, description=(
        "Seconds that a pod which is stopped gives its running requests; 0 cuts them at once."))
    ] = DEFAULT_DRAIN_SECONDS
    update_strategy: Annotated[UpdateStrategy | None, Field(description=(
        "How pods are replaced when the pool changes. Not set: one after the other."))] = None

    @model_validator(mode="after")
    def _as_the_rules_say(self) -> RuntimePoolSpec:
        limit = (self.resources.limits or {}).get("memory") if self.resources is not None else None
        broken = (
            parse_quantity(self.memory) == 0,
            self.disk is not None and parse_quantity(self.disk) == 0,
            limit is not None and parse_quantity(limit) <= parse_quantity(self.memory),
            any(re.match(_OWN, key) for key in self.pod_labels),
            any(key.startswith("paddock.dev/") for key in self.pod_annotations),
        )
        for wrong, (_, message) in zip(broken, self.rules, strict=True):
            if wrong:
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> RuntimePoolSpec:
        for field in ("volumes", "credentials", "image_pull_secrets"):
            names = [item.name for item in getattr(self, field)]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                alias = type(self).model_fields[field].alias
                raise ValueError(f"{alias}: {', '.join(twice)} is listed twice; remove one")
        return self


class RuntimePool(Spec):
    """Equal pods that hold Models in memory, within one budget each."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        (f"self.metadata.name.matches('{_POOL_NAME}')",
         "metadata.name: use at most 63 lower-case letters, digits and '-', beginning with a letter; a Service has it"),
    )

    api_version: Literal["paddock.dev/v1alpha1"] = "paddock.dev/v1alpha1"
    kind: Literal["RuntimePool"] = "RuntimePool"
    metadata: Metadata
    spec: Annotated[RuntimePoolSpec, Field(description="What is wanted.")]
    status: Annotated[RuntimePoolStatus | None, Field(description="What is known; written by the operator.")] = None

    @model_validator(mode="after")
    def _name_makes_a_service(self) -> RuntimePool:
        if re.fullmatch(_POOL_NAME, self.metadata.name) is None:
            raise ValueError(self.rules[0][1])
        return self
