"""The JSON that the hub answers with. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tests.hub.repos import File, Repo

Json = dict[str, Any]


def model(repo: Repo, sha: str, *, blobs: bool = False, expand: Iterable[str] = ()) -> Json:
    """`expand` leaves only what it names, beside the id."""
    when = datetime.fromtimestamp(repo.modified, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    whole: Json = {
        "_id": hashlib.sha256(repo.id.encode()).hexdigest()[:24], "id": repo.id, "modelId": repo.id,
        "author": repo.id.split("/")[0], "sha": sha, "lastModified": when, "createdAt": when, "private": repo.private,
        "gated": repo.gated, "disabled": repo.disabled, "downloads": 0, "likes": 0, "tags": ["gguf"],
        "siblings": [_sibling(file, blobs=blobs) for file in repo.commits[sha].values()],
    }
    wanted = set(expand)
    return {key: value for key, value in whole.items() if key in wanted | {"_id", "id"}} if wanted else whole


EXPANDABLE = frozenset({"author", "createdAt", "disabled", "downloads", "gated", "lastModified", "likes", "private",
                        "sha", "siblings", "tags"})


def _sibling(file: File, *, blobs: bool) -> Json:
    if not blobs:
        return {"rfilename": file.path}
    entry: Json = {"rfilename": file.path, "blobId": file.oid, "size": file.size}
    if file.is_lfs:
        entry["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    return entry


def tree(repo: Repo, sha: str, folder: str, *, recursive: bool) -> list[Json]:
    """Files and folders below `folder` (empty: all), in order of their paths."""
    prefix = f"{folder}/" if folder else ""
    entries: dict[str, Json] = {}
    for file in repo.commits[sha].values():
        if not file.path.startswith(prefix):
            continue
        parts = file.path.removeprefix(prefix).split("/")
        for depth in range(1, len(parts)):
            path = prefix + "/".join(parts[:depth])
            if recursive or depth == 1:
                oid = hashlib.sha1(f"{sha} {path}".encode(), usedforsecurity=False).hexdigest()
                entries[path] = {"type": "directory", "oid": oid, "size": 0, "path": path}
        if recursive or len(parts) == 1:
            entries[file.path] = _entry(file)
    return [entries[path] for path in sorted(entries)]


def _entry(file: File) -> Json:
    entry: Json = {"type": "file", "oid": file.oid, "size": file.size, "path": file.path}
    if file.is_lfs:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    return entry


def refs(repo: Repo) -> Json:
    return {"branches": [_ref("heads", name, sha) for name, sha in sorted(repo.branches.items())], "converts": [],
            "tags": [_ref("tags", name, sha) for name, sha in sorted(repo.tags.items())]}


def _ref(kind: str, name: str, sha: str) -> Json:
    return {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha}
