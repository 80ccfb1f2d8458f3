"""Where the files of a source lie, and which digests they must have. Pure, but for links that are followed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from paddock_api.errors import Code, PaddockError
from paddock_api.source import FileSource, Source
from paddock_runtime.store.addresses import check_url
from paddock_runtime.store.local import locate

_SHARD = re.compile(r"(?P<stem>.*)-00001-of-(?P<count>\d{5})(?P<suffix>\.gguf)", re.ASCII | re.DOTALL)
MAX_SHARDS = 1000


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file to fetch. `credential` names what its server may be shown; `param` the field that named the file."""

    url: httpx.URL
    sha256: str
    param: str
    credential: str | None = None

    @property
    def remedy(self) -> str:
        """What helps when its server refuses who asks."""
        if self.credential is not None:
            return (f"it does not take the token of the credential {self.credential!r}, or that account may not read "
                    "it")
        if self.param == "source.huggingFace":
            return "it needs a token: name one of the pool's credentials in source.huggingFace.credential"
        return "it needs credentials, and sources of this kind carry none"


@dataclass(frozen=True, kw_only=True)
class Local:
    """A file to use where it is. `sha256`: what the spec says it must have."""

    path: Path
    sha256: str | None = None


def remote_files(source: Source, files: Sequence[str], sha256s: Sequence[str]) -> list[Remote]:
    """The files of a source that is fetched, in order. Raises PaddockError SOURCE_REFUSED."""
    param, credential = "source.hub", None
    if source.http is not None:
        param, files, sha256s = "source.http.url", files or [source.http.url], sha256s or [source.http.sha256]
        if sha256s[0] != source.http.sha256:
            raise PaddockError(Code.SOURCE_REFUSED, "the resolution has another digest than source.http.sha256",
                               param="source.http.sha256")
    elif source.hugging_face is not None:
        param, credential = "source.huggingFace", source.hugging_face.credential
    if not files or len(files) != len(sha256s) or len(files) > MAX_SHARDS:
        raise PaddockError(
            Code.SOURCE_REFUSED, f"the source is resolved to {len(files)} files and {len(sha256s)} digests: each file "
            f"needs one, and there may be {MAX_SHARDS}", param=param)
    return [Remote(url=check_url(file), sha256=sha256, param=param, credential=credential)
            for file, sha256 in zip(files, sha256s, strict=True)]


def local_files(
    source: FileSource, files: Sequence[str], volumes: Mapping[str, Path], *, anywhere: bool
) -> list[Local]:
    """The files of a source that lies on this machine, in order; they need not exist.

    `files` are the absolute paths that a standalone source stands for; those in volumes are found by the source alone.
    Raises PaddockError SOURCE_NOT_FOUND, SOURCE_REFUSED, SOURCE_UNAVAILABLE."""
    if source.volume is None and not anywhere:
        raise PaddockError(Code.SOURCE_REFUSED, "source.file needs a volume: the pods of a pool have no other files",
                           param="source.file.volume")
    given = list(files) if files and source.volume is None else [source.path]
    names = siblings(given[0]) if len(given) == 1 else given
    return [Local(path=locate(source.volume, name, volumes), sha256=source.sha256 if index == 0 else None)
            for index, name in enumerate(names)]


def siblings(name: str) -> list[str]:
    """All shards of the file whose first one is `name`, in order; `name` alone for a file in one piece."""
    match = _SHARD.fullmatch(name)
    count = int(match["count"]) if match is not None else 1
    if match is None or not 1 < count <= MAX_SHARDS:
        return [name]
    return [f"{match['stem']}-{number:05d}-of-{count:05d}{match['suffix']}" for number in range(1, count + 1)]
