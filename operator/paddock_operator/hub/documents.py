"""What the hub's API answers, as far as it matters here."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Size = Annotated[int, Field(ge=0, le=1 << 50)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Lfs(_Document):
    """Of a file that git keeps a pointer to only. `size` in bytes."""

    sha256: _Sha256
    size: _Size


class RepoFile(_Document):
    """`rfilename`: path in the repository, as its owner named it: not to be trusted."""

    rfilename: Annotated[str, Field(max_length=4096)]
    size: _Size | None = None
    lfs: Lfs | None = None


class Pointer(_Document):
    """Where a revision points."""

    sha: Commit


class RepoInfo(_Document):
    """A repository at one commit, with all files."""

    sha: Commit
    siblings: Annotated[list[RepoFile], Field(max_length=100_000)]


def read_pointer(body: bytes) -> Pointer | None:
    """None if that is not what the body says."""
    try:
        return Pointer.model_validate_json(body)
    except ValidationError:
        return None


def read_repo(body: bytes) -> RepoInfo | None:
    """None if that is not what the body says."""
    try:
        return RepoInfo.model_validate_json(body)
    except ValidationError:
        return None
