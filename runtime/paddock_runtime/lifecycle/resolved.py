"""A revision's resolution against what a pod has and can: pure judgements."""

from __future__ import annotations

from paddock_api.errors import Code, PaddockError
from paddock_api.revision import Revision
from paddock_api.state import FileFacts
from paddock_runtime.engine.types import Examined
from paddock_runtime.store import Artifact

_MIB = 1 << 20


def digests(revision: Revision) -> list[str]:
    """Of the files to fetch, as far as they are known; a file in place is verified against them when it is here."""
    resolution = revision.resolution
    if resolution.sha256s or resolution.sha256 is None:
        return resolution.sha256s
    return [resolution.sha256]


def never_fits(revision: Revision, budget: int) -> PaddockError | None:
    """Before anything is fetched: weights that are larger than all memory for them."""
    size = revision.resolution.size
    if size is None or size <= budget or revision.spec.engine.gpu_layers != 0:
        return None
    return PaddockError(
        Code.NO_FIT, f"its file has {size / _MIB:.0f} MiB, but the whole memory budget is {budget / _MIB:.0f} MiB: "
        "take a smaller file, or raise the budget")


def check_resolved(revision: Revision, found: Artifact) -> None:
    """A file in place may have been replaced since it was resolved. Raises PaddockError CHECKSUM_MISMATCH."""
    wanted = digests(revision)
    if wanted and list(found.sha256s[:len(wanted)]) != wanted:
        raise PaddockError(
            Code.CHECKSUM_MISMATCH, f"{found.paths[0]} is another file than the one that was resolved: it has the "
            f"sha256 {found.sha256}, not {wanted[0]}; put the right file there, or have the Model resolved again",
            param="source.file.path")


def facts_of(found: Artifact, examined: Examined | None = None) -> FileFacts:
    known = FileFacts(sha256=found.sha256, sha256s=list(found.sha256s), size=found.size)
    if examined is None:
        return known
    return known.model_copy(update={
        "architecture": examined.architecture, "parameters": examined.parameters,
        "quantization": examined.quantization, "context_length": examined.context_length})
