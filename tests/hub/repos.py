"""The repositories of the double: commits, branches, tags, who may read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

SETTINGS = ".hub.json"
TOKENS = ".tokens.json"
_LFS_BYTES = 10 << 20
_LFS_SUFFIXES = frozenset({".gguf", ".safetensors", ".bin"})
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class File:
    """One file at one commit. `content` may lie on disk, and is then read piece by piece."""

    path: str
    content: bytes | Path

    @cached_property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    @cached_property
    def sha256(self) -> str:
        if isinstance(self.content, bytes):
            return hashlib.sha256(self.content).hexdigest()
        with self.content.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    @property
    def is_lfs(self) -> bool:
        return self.size > _LFS_BYTES or Path(self.path).suffix in _LFS_SUFFIXES

    @cached_property
    def pointer(self) -> bytes:
        """What git keeps of an LFS file."""
        return (f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\n"
                f"size {self.size}\n").encode()

    @cached_property
    def oid(self) -> str:
        """Git's name of the blob: of the pointer when the file is in LFS."""
        kept = self.pointer if self.is_lfs else self.read(0, self.size)
        return hashlib.sha1(b"blob %d\0" % len(kept) + kept, usedforsecurity=False).hexdigest()

    def read(self, start: int, end: int) -> bytes:
        if isinstance(self.content, bytes):
            return self.content[start:end]
        with self.content.open("rb") as stream:
            stream.seek(start)
            return stream.read(end - start)


@dataclass
class Repo:
    """A model repository. `granted`: accounts that may read it although it is gated or private."""

    id: str
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    gated: Literal[False, "auto", "manual"] = False
    private: bool = False
    disabled: bool = False
    renamed_to: str | None = None
    granted: set[str] = field(default_factory=set)
    # Of the newest commit; rises by a second with each, so that nothing here depends on a clock.
    modified: int = 1_780_000_000

    def commit(self, files: Mapping[str, bytes | Path], *, branch: str = "main") -> str:
        """Make these all the files of `branch`, in a new commit; gives its sha."""
        tree = {path: File(path, content) for path, content in sorted(files.items())}
        parent = self.branches.get(branch, "")
        content = "\n".join([self.id, parent, *(f"{file.path} {file.sha256}" for file in tree.values())])
        sha = hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = tree
        self.branches[branch] = sha
        self.modified += 1
        return sha

    def find(self, revision: str) -> str | None:
        """The commit that a branch, a tag, a ref or a full sha stands for."""
        if revision in self.commits:
            return revision
        short = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        return self.branches.get(short) or self.tags.get(short)


def load(root: Path) -> tuple[dict[str, Repo], dict[str, str]]:
    """Repositories and tokens (token → account) of a directory.

    `ROOT/OWNER/NAME/…` is branch main, `ROOT/OWNER/NAME@BRANCH/…` another. `.hub.json` beside the files of main sets
    gated, private, disabled, renamed_to, granted. `ROOT/.tokens.json` maps tokens to accounts."""
    repos: dict[str, Repo] = {}
    for folder in sorted(path for path in root.glob("*/*") if path.is_dir() and not path.parent.name.startswith(".")):
        name, _, branch = folder.name.partition("@")
        repo = repos.setdefault(f"{folder.parent.name}/{name}", Repo(f"{folder.parent.name}/{name}"))
        files = {str(path.relative_to(folder)): path for path in folder.rglob("*")
                 if path.is_file() and path.name != SETTINGS}
        repo.commit(files, branch=branch or "main")
        if (folder / SETTINGS).exists():
            _set(repo, json.loads((folder / SETTINGS).read_text()))
    tokens = root / TOKENS
    return repos, json.loads(tokens.read_text()) if tokens.exists() else {}


def _set(repo: Repo, settings: dict[str, Any]) -> None:
    unknown = settings.keys() - {"gated", "private", "disabled", "renamed_to", "granted"}
    if unknown:
        raise ValueError(f"{repo.id}: {SETTINGS} has unknown keys: {', '.join(sorted(unknown))}")
    repo.gated = settings.get("gated", False)
    repo.private = settings.get("private", False)
    repo.disabled = settings.get("disabled", False)
    repo.renamed_to = settings.get("renamed_to")
    repo.granted = set(settings.get("granted", ()))
