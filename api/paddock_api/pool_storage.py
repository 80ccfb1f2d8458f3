"""Where a pool's pods keep files, and the volumes and credentials that its owner lets Models name."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from paddock_api.fields import DnsLabel, Name, Spec, Url
from paddock_api.quantity import Quantity, parse_quantity, positive

DEFAULT_ENDPOINT = "https://huggingface.co"
# These names become parts of volume names in the pod.
_MAX_NAME = 50
LocalName = Annotated[DnsLabel, Field(max_length=_MAX_NAME)]


class AccessMode(StrEnum):
    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_ONCE_POD = "ReadWriteOncePod"
    READ_WRITE_MANY = "ReadWriteMany"


class EmptyDir(Spec):
    """Space on the node's disk that lives as long as the pod."""

    size_limit: Annotated[Quantity | None, Field(description=(
        "Most space the pod may use; kubelet evicts a pod that uses more. Not set: no limit but the node's disk."))
    ] = None


class ClaimTemplate(Spec):
    """A volume of its own for each pod, which outlives the pod."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (positive("size", "100Gi"),)

    storage_class_name: Annotated[str | None, Field(max_length=253, description=(
        "StorageClass of the volumes. Not set: the cluster's default. Empty text: volumes without a class."))] = None
    access_modes: Annotated[list[AccessMode], Field(
        min_length=1, max_length=3, description="How the volumes are mounted. Default: ReadWriteOnce.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = Field(default_factory=lambda: [AccessMode.READ_WRITE_ONCE])
    size: Annotated[Quantity, Field(description="Size of each volume, such as 100Gi.")]

    @model_validator(mode="after")
    def _has_a_size(self) -> ClaimTemplate:
        if parse_quantity(self.size) == 0:
            raise ValueError(self.rules[0][1])
        return self


class ExistingClaim(Spec):
    """A claim that exists in the pool's namespace."""

    claim_name: Annotated[Name, Field(description="Name of the PersistentVolumeClaim.")]


class Cache(Spec):
    """Where pods keep model files and what they remember: exactly one of the three."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        (("[has(self.emptyDir), has(self.volumeClaimTemplate), has(self.persistentVolumeClaim)]"
          ".filter(given, given).size() == 1"),
         "set exactly one of emptyDir, volumeClaimTemplate, persistentVolumeClaim"),
    )

    empty_dir: Annotated[EmptyDir | None, Field(description=(
        "The node's disk; a new pod starts with an empty cache."))] = None
    volume_claim_template: Annotated[ClaimTemplate | None, Field(description=(
        "A volume for each pod. It stays when the pool shrinks, for when it grows again. It can't be changed later."))
    ] = None
    persistent_volume_claim: Annotated[ExistingClaim | None, Field(description=(
        "One claim for all pods, each in a folder of its name; several pods need ReadWriteMany."))] = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Cache:
        _one_of(self, self.rules[0][1])
        return self


class VolumeClaim(Spec):
    """A claim with model files, in the pool's namespace."""

    claim_name: Annotated[Name, Field(description="Name of the PersistentVolumeClaim.")]
    read_only: Annotated[bool, Field(description=(
        "Attach the volume read-only, so that many nodes can. The pods never write to it either way."))] = True


class Volume(Spec):
    """A volume that Models may name in spec.source.file.volume: exactly one kind of it."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("[has(self.persistentVolumeClaim), has(self.emptyDir)].filter(given, given).size() == 1",
         "set exactly one of persistentVolumeClaim, emptyDir"),
    )

    name: Annotated[LocalName, Field(description=(
        "Name that Models use. The pods find the files in /volumes/NAME."))]
    persistent_volume_claim: Annotated[VolumeClaim | None, Field(description=(
        "A claim with model files, in the pool's namespace."))] = None
    empty_dir: Annotated[EmptyDir | None, Field(description=(
        "An empty folder for each pod, to be filled from outside, such as by kubectl cp."))] = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Volume:
        _one_of(self, self.rules[0][1], besides=("name",))
        return self


class Credential(Spec):
    """A token for a model hub that Models may name. It is mounted into the pods and sent to no other host."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!has(self.endpoint) || !self.endpoint.matches('^https?://[^/?#]*@')",
         "endpoint: remove the user name and password; put them into the Secret"),
    )

    name: Annotated[LocalName, Field(description="Name that Models use.")]
    secret_name: Annotated[Name, Field(description="Name of the Secret with the token, in the pool's namespace.")]
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$", description=(
        "Key of the token in the Secret."))] = "token"
    endpoint: Annotated[Url, Field(description=(
        "Address of the hub that the token is for."))] = DEFAULT_ENDPOINT

    @model_validator(mode="after")
    def _no_credentials(self) -> Credential:
        if "@" in self.endpoint.split("://", 1)[1].split("/", 1)[0].split("?", 1)[0].split("#", 1)[0]:
            raise ValueError(self.rules[0][1])
        return self


def _one_of(part: Spec, message: str, besides: tuple[str, ...] = ()) -> None:
    fields = type(part).model_fields
    given = [fields[name].alias or name for name in fields if name not in besides and getattr(part, name) is not None]
    if len(given) != 1:
        raise ValueError(f"{message} (set: {', '.join(given) or 'none'})")
