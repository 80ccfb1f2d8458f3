"""`source.huggingFace`: a revision becomes a commit, a quant a file, and the file's header facts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

import httpx

from paddock_api.errors import Code, PaddockError
from paddock_api.gguf import GgufHeader
from paddock_api.revision import Resolution
from paddock_api.source import HuggingFaceSource
from paddock_operator.hub.answers import REPO, REVISION, Subject
from paddock_operator.hub.client import HubClient, file_url
from paddock_operator.hub.credentials import PARAM as CREDENTIAL
from paddock_operator.hub.credentials import Access, Credential, token_of
from paddock_operator.hub.documents import RepoFile, RepoInfo
from paddock_operator.hub.kept import Flights, Kept
from paddock_operator.hub.ranges import Piece
from paddock_operator.hub.urls import check_url, vouched
from paddock_operator.resolve.choose import choose
from paddock_operator.resolve.header import HeaderReader, joined
from paddock_operator.resolve.resolved import Pin, Resolved, facts_of

_LISTING_BYTES = _HEADER_BYTES = 64 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)


class HuggingFace:
    """`endpoint`: the hub of sources that name no credential. `allow_hosts`: hosts that may be private, or get a token
    without TLS."""

    def __init__(
        self, client: HubClient, headers: HeaderReader, *, endpoint: httpx.URL, allow_hosts: frozenset[str]
    ) -> None:
        self._client = client
        self._reader = headers
        self._endpoint = endpoint
        self._allow_hosts = allow_hosts
        self._commits: Flights[str] = Flights()
        self._listings: Kept[RepoInfo] = Kept(most_bytes=_LISTING_BYTES, weigh=_weight_of_listing)
        self._headers: Kept[GgufHeader] = Kept(most_bytes=_HEADER_BYTES, weigh=weight_of_header)

    async def resolve(
        self, source: HuggingFaceSource, *, pinned: Pin | None, follow: bool, credentials: Mapping[str, Credential]
    ) -> Resolved:
        """Raises PaddockError, of the hub's kinds HubError."""
        check_names(source)
        access = self._access(source, credentials)
        if pinned is not None and pinned.resolution.commit is not None and not follow:
            return await self._at_pin(source, pinned, access)
        commit = source.revision
        if _COMMIT.fullmatch(commit) is None:
            commit = await self._commits.join((access.endpoint, access.fingerprint, source.repo, source.revision),
                                              lambda: self._client.commit_of(access, source.repo, source.revision))
        if pinned is not None and pinned.resolution.commit == commit:
            return await self._at_pin(source, pinned, access)
        files = await self._choose(source, commit, access)
        return await self._resolved(source, _resolution(source, commit, files, access), access, None)

    async def _choose(self, source: HuggingFaceSource, commit: str, access: Access) -> list[RepoFile]:
        info = await self._listings.get((access.endpoint, access.fingerprint, source.repo, commit),
                                        lambda: self._client.repo(access, source.repo, commit))
        return choose(source.repo, info.siblings, file=source.file, quant=source.quant)

    async def _at_pin(self, source: HuggingFaceSource, pinned: Pin, access: Access) -> Resolved:
        commit = pinned.resolution.commit or ""
        # The hub may be found at another address now than when the pin was made.
        places = [file_url(access.endpoint, source.repo, commit, _path(pinned.resolution, url))
                  for url in pinned.resolution.files]
        resolution = pinned.resolution.model_copy(update={"files": places})
        return await self._resolved(source, resolution, access, pinned.header)

    async def _resolved(
        self, source: HuggingFaceSource, resolution: Resolution, access: Access, header: GgufHeader | None
    ) -> Resolved:
        if header is None:
            key = (access.endpoint, access.fingerprint, *resolution.files)
            header = await self._headers.get(key, lambda: self._header(source, resolution, access))
        return Resolved(resolution=resolution, facts=facts_of(resolution, _path(resolution), header), header=header)

    async def _header(self, source: HuggingFaceSource, resolution: Resolution, access: Access) -> GgufHeader:
        found: list[GgufHeader] = []
        for url in resolution.files:
            size = resolution.size if len(resolution.files) == 1 else None
            found.append(await self._one_header(source, resolution, url, size, access))
        return joined(found, name=_path(resolution), param=REPO)

    async def _one_header(
        self, source: HuggingFaceSource, resolution: Resolution, url: str, size: int | None, access: Access
    ) -> GgufHeader:
        name = _path(resolution, url)
        subject = Subject(endpoint=access.endpoint, repo=source.repo, revision=resolution.commit or "", file=name,
                          token=access.token is not None)
        at = check_url(url, REPO)

        async def read(start: int, end: int) -> Piece:
            nonlocal at
            piece = await self._client.piece(access, at, subject, start, end)
            at = piece.url  # the hub's file store: the next piece costs the hub no request
            return piece

        opened = await self._reader.read(read, name=f"{source.repo}: {name!r}", size=size, param=REPO)
        return opened.header

    def _access(self, source: HuggingFaceSource, credentials: Mapping[str, Credential]) -> Access:
        """Raises PaddockError SOURCE_REFUSED."""
        name = source.credential
        if name is None:
            return Access(self._endpoint)
        credential = credentials.get(name)
        if credential is None:
            raise PaddockError(Code.SOURCE_REFUSED, f"the credential {name!r} can't be read: see the pool's "
                               "spec.credentials and whether its Secret has the key", param=CREDENTIAL)
        if credential.endpoint is None:
            return Access(self._endpoint, token_of(name, credential))
        endpoint = check_endpoint(credential.endpoint, CREDENTIAL)
        if endpoint.scheme != "https" and not vouched(endpoint, self._allow_hosts):
            raise PaddockError(Code.SOURCE_REFUSED, f"the credential {name!r} would be sent without TLS to "
                               f"{endpoint.host}: give its endpoint as https://", param=CREDENTIAL)
        return Access(endpoint, token_of(name, credential))


def check_endpoint(text: str, param: str) -> httpx.URL:
    """A hub's address. Raises PaddockError SOURCE_REFUSED."""
    return check_url(text, param).copy_with(query=None, fragment=None)


def check_names(source: HuggingFaceSource) -> None:
    """A repository and revision that can't lead to another path of the hub. Raises PaddockError SOURCE_REFUSED."""
    if {".", ".."} & set(source.repo.split("/")):
        raise PaddockError(Code.SOURCE_REFUSED, f"{source.repo!r} is no repository: give owner/name", param=REPO)
    if source.revision in (".", "..") or not source.revision.isprintable() or "\\" in source.revision:
        raise PaddockError(Code.SOURCE_REFUSED, f"{source.revision!r} is no revision: give a branch, tag or commit",
                           param=REVISION)


def _resolution(source: HuggingFaceSource, commit: str, files: Sequence[RepoFile], access: Access) -> Resolution:
    large = [file.lfs for file in files if file.lfs is not None]
    return Resolution(
        sha256=large[0].sha256, size=sum(each.size for each in large), commit=commit,
        files=[file_url(access.endpoint, source.repo, commit, file.rfilename) for file in files],
        sha256s=[each.sha256 for each in large] if len(files) > 1 else [])


def _path(resolution: Resolution, url: str | None = None) -> str:
    """The path in the repository, of the first file unless another URL is given."""
    return unquote((url or resolution.files[0]).partition(f"/resolve/{resolution.commit}/")[2])


def _weight_of_listing(info: RepoInfo) -> int:
    return 1024 + 512 * len(info.siblings)


def weight_of_header(header: GgufHeader) -> int:
    """Bytes that a header takes in memory, about."""
    return 4096 + 400 * len(header.tensors) + 4 * len(header.facts.chat_template or "")
