"""A hub's catalog as everybody keeps and serves it, and its pieces, each small enough for a ConfigMap.

A piece is gzip of canonical JSON {format, entries}; the head is plain JSON that names the pieces by their digests.
Pieces are immutable and named by their content, so whoever has the head's pieces has exactly that catalog, and writing
a new head switches at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from paddock_api.canonical import canonical_json
from paddock_api.packing import pack, unpack

FORMAT = 1
# The API server takes 1 MiB of data in a ConfigMap.
PIECE_BYTES = 700 << 10


class EntryState(StrEnum):
    PRESENT = "present"
    DELETED = "deleted"  # gone from the hub, or no longer to be seen
    RENAMED = "renamed"  # `renamed_to` says where it went


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CatalogFile(_Part):
    """A GGUF file. `size` in bytes; `sha256` is None for a file that the hub keeps in git itself."""

    path: str
    size: int = Field(ge=0)
    sha256: str | None = None
    quant: str | None = None


class CatalogBranch(_Part):
    """GGUF files of one branch at `commit`, by path."""

    commit: str
    files: tuple[CatalogFile, ...] = ()


class CatalogEntry(_Part):
    """A repository with GGUF files. `gated`: its files need a credential. `last_modified` as the hub writes it.

    `since`: Unix seconds at which it became what `state` says; a tombstone keeps what was last known."""

    repo: str
    state: EntryState = EntryState.PRESENT
    renamed_to: str | None = None
    since: float
    last_modified: str
    gated: bool = False
    downloads: int = 0
    licence: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    context_length: int | None = None
    branches: dict[str, CatalogBranch] = {}

    @property
    def fingerprint(self) -> str:
        """Equal as long as nothing changed that anybody acts on: counts of downloads may."""
        kept = self.model_dump(mode="json", exclude={"downloads", "since"})
        return hashlib.sha256(canonical_json(kept)).hexdigest()


class Catalog(_Part):
    """The entries of one ModelHub, by repo. What changes with every sync (times, numbers) is in its status instead."""

    hub: str  # namespace/name
    endpoint: str
    entries: dict[str, CatalogEntry] = {}


class CatalogHead(_Part):
    """`digest` names the content; `pieces` their digests in order; `checked_at` and `stale_since` are Unix seconds."""

    format: int = FORMAT
    hub: str
    endpoint: str
    digest: str
    pieces: tuple[str, ...]
    checked_at: float
    stale_since: float | None = None


def split(catalog: Catalog, *, checked_at: float, stale_since: float | None = None, limit: int = PIECE_BYTES
          ) -> tuple[CatalogHead, dict[str, bytes]]:
    """The head, and the pieces by digest. Equal content gives equal bytes; pieces of entries that did not change stay
    mostly the same, as where one ends depends on the names alone."""
    pieces = {hashlib.sha256(piece).hexdigest(): piece for piece in _pieces(catalog, limit)}
    digest = hashlib.sha256(canonical_json([catalog.hub, catalog.endpoint, list(pieces)])).hexdigest()
    head = CatalogHead(hub=catalog.hub, endpoint=catalog.endpoint, digest=digest, pieces=tuple(pieces),
                       checked_at=checked_at, stale_since=stale_since)
    return head, pieces


def join(head: CatalogHead, pieces: Mapping[str, bytes]) -> Catalog:
    """Raises KeyError when a piece is not there yet, ValueError for what no waiting can mend."""
    entries: dict[str, CatalogEntry] = {}
    for digest in head.pieces:
        piece = pieces[digest]
        if hashlib.sha256(piece).hexdigest() != digest:
            raise ValueError(f"piece {digest[:12]} of the catalog {head.hub} does not have the digest that names it")
        entries.update(_read(piece, head.hub))
    return Catalog(hub=head.hub, endpoint=head.endpoint, entries=entries)


def _pieces(catalog: Catalog, limit: int) -> Iterator[bytes]:
    """Cut behind names whose hash says so, about every 256th: a change moves no other cut."""
    group: list[CatalogEntry] = []
    for repo in sorted(catalog.entries):
        group.append(catalog.entries[repo])
        if hashlib.sha256(repo.encode()).digest()[0] == 0:
            yield from _packed(group, limit)
            group = []
    yield from _packed(group, limit)


def _packed(entries: Sequence[CatalogEntry], limit: int) -> Iterator[bytes]:
    if not entries:
        return
    document = {"format": FORMAT, "entries": [entry.model_dump(mode="json") for entry in entries]}
    piece = pack(canonical_json(document))
    if len(piece) <= limit:
        yield piece
    elif len(entries) == 1:
        raise ValueError(f"{entries[0].repo} alone has {len(piece)} bytes, {limit} fit a piece of a catalog: leave out "
                         "some of its quants (spec.quants)")
    else:
        middle = len(entries) // 2
        yield from _packed(entries[:middle], limit)
        yield from _packed(entries[middle:], limit)


def _read(piece: bytes, hub: str) -> dict[str, CatalogEntry]:
    try:
        document = json.loads(unpack(piece))
        if document["format"] != FORMAT:
            raise ValueError(f"has format {document['format']}, this version reads {FORMAT}")
        read = [CatalogEntry.model_validate(entry) for entry in document["entries"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"the catalog {hub} can't be read: {error}") from None
    return {entry.repo: entry for entry in read}
