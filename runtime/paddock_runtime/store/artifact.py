"""Verified files, and how to tell cheaply that they are still the ones that were verified."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from paddock_api.errors import Code, PaddockError


class Identity(NamedTuple):
    """What `stat` says of a file. Whoever changes its content changes at least one of these."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, result: os.stat_result) -> Identity:
        return cls(result.st_dev, result.st_ino, result.st_size, result.st_mtime_ns, result.st_ctime_ns)


@dataclass(frozen=True)
class Artifact:
    """The files of one source, verified, shards in order.

    `paths` are real paths (no symlinks left in them); `sha256s` and `identity` belong to them in the same order.
    """

    sha256s: tuple[str, ...]
    paths: tuple[Path, ...]
    identity: tuple[Identity, ...]

    @property
    def sha256(self) -> str:
        """Of the first file."""
        return self.sha256s[0]

    @property
    def size(self) -> int:
        """All bytes together."""
        return sum(identity.size for identity in self.identity)

    @property
    def digest(self) -> str:
        """Names the whole content: of a file in one piece its sha256."""
        return self.sha256 if len(self.sha256s) == 1 else hashlib.sha256("".join(self.sha256s).encode()).hexdigest()


def identity_of(path: Path) -> Identity:
    """Raises PaddockError SOURCE_NOT_FOUND, SOURCE_REFUSED for what is not a plain file, SOURCE_UNAVAILABLE."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise PaddockError(Code.SOURCE_NOT_FOUND, f"there is no file {path}: put it there or correct the path",
                           param="source.file.path") from None
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise PaddockError(Code.SOURCE_REFUSED, f"{path} is {_kind(found.st_mode)}, not a plain file",
                           param="source.file.path")
    return Identity.of(found)


def unreadable(path: Path, error: OSError) -> PaddockError:
    """The error for a file that is there and can't be read."""
    return PaddockError(Code.SOURCE_UNAVAILABLE,
                        f"can't read {path}: {error.strerror or error}; check its permissions and the disk",
                        param="source.file.path")


def check_unchanged(artifact: Artifact) -> None:
    """Raises PaddockError SOURCE_NOT_FOUND, SIZE_MISMATCH or CHECKSUM_MISMATCH when a file is not as verified."""
    for path, known, sha256 in zip(artifact.paths, artifact.identity, artifact.sha256s, strict=True):
        now = identity_of(path)
        if now.size != known.size:
            raise PaddockError(
                Code.SIZE_MISMATCH,
                f"{path} has {now.size} bytes, but {known.size} when it was checked: it was changed in place; "
                "replace files by renaming a whole new one over them")
        if now != known:
            raise PaddockError(
                Code.CHECKSUM_MISMATCH,
                f"{path} was touched since its sha256 {sha256} was computed, so that digest may no longer "
                "hold; it will be checked again at the next use")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a named pipe", stat.S_IFLNK: "a symbolic link",
             stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a block device", stat.S_IFCHR: "a character device"}
    return kinds.get(stat.S_IFMT(mode), "a special file")
