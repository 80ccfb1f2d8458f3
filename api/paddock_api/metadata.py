"""What all resources have in common: group, version and the metadata that Paddock reads."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from paddock_api.fields import Name, Status

GROUP = "paddock.dev"
VERSION = "v1alpha1"
API_VERSION = "paddock.dev/v1alpha1"
# A resource's name becomes a label value and part of other objects' names.
MAX_NAME = 63
LABEL_RULE = ("self.metadata.name.size() <= 63", "metadata.name: at most 63 characters; it becomes a label")


class Metadata(Status):
    """The part of Kubernetes' object metadata that Paddock reads; the rest is let go by."""

    name: Annotated[Name, Field(max_length=MAX_NAME)]
    namespace: Annotated[Name, Field(max_length=63)] = "default"
    uid: str | None = None
    generation: int | None = None
    resource_version: str | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)
