"""The few requests of the Hugging Face API that resolving a source takes."""

from __future__ import annotations

import time
from collections.abc import Set
from urllib.parse import quote

import httpx

from paddock_operator.hub.answers import REPO, Subject, refusal
from paddock_operator.hub.call import Caller
from paddock_operator.hub.connect import Ask, Got
from paddock_operator.hub.credentials import Access
from paddock_operator.hub.documents import RepoInfo, read_pointer, read_repo
from paddock_operator.hub.errors import HubError, Unavailable
from paddock_operator.hub.ranges import Piece, piece

_MAX_POINTER_BYTES = 64 << 10
_MAX_REPO_BYTES = 16 << 20
# Never compressed: a range is one of the file itself, and no answer can grow after it was measured.
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "paddock"}


class HubClient:
    """`allow_hosts`: hosts (`host` or `host:port`) that may be private; the endpoint belongs there if it is."""

    def __init__(self, caller: Caller, *, allow_hosts: Set[str]) -> None:
        self._caller = caller
        self._allow_hosts = allow_hosts

    async def commit_of(self, access: Access, repo: str, revision: str) -> str:
        """The commit that a branch or tag points to. Raises HubError by its kind."""
        subject = _subject(access, repo, revision)
        got = await self._api(access, subject, {"expand": "sha"}, _MAX_POINTER_BYTES)
        found = read_pointer(got.body)
        if found is None:
            raise _not_understood(subject)
        return found.sha

    async def repo(self, access: Access, repo: str, revision: str) -> RepoInfo:
        """All files at a revision, with their digests and sizes (bytes). Raises HubError by its kind."""
        subject = _subject(access, repo, revision)
        got = await self._api(access, subject, {"blobs": "true"}, _MAX_REPO_BYTES)
        if not got.whole:
            raise HubError(f"{repo} has too many files: its list has more than {_MAX_REPO_BYTES >> 20} MiB", param=REPO)
        found = read_repo(got.body)
        if found is None:
            raise _not_understood(subject)
        return found

    async def piece(self, access: Access, url: httpx.URL, subject: Subject, start: int, end: int) -> Piece:
        """The bytes from `start` up to `end` of a file of the repository, or fewer where it ends.

        `url`: `file_url`, or where an earlier piece came from. Raises HubError by its kind."""
        ask = Ask(url=url, limit=end, allow_hosts=self._allow_hosts, param=REPO, access=access,
                  headers={**_HEADERS, "Accept": "*/*", "Range": f"bytes={start}-{end - 1}"})
        got = await self._caller.call(ask, bucket="resolvers", payer=access.endpoint)
        if got.status not in (200, 206, 416):
            raise refusal(subject, got.status, got.headers, time.time())
        return piece(got, start, end)

    async def _api(self, access: Access, subject: Subject, query: dict[str, str], limit: int) -> Got:
        url = _at(access.endpoint, f"/api/models/{subject.repo}/revision/{quote(subject.revision, safe='')}")
        ask = Ask(url=url.copy_with(params=query), limit=limit, allow_hosts=self._allow_hosts, param=REPO,
                  access=access, headers=_HEADERS, follow=False)
        got = await self._caller.call(ask, bucket="api", payer=access.endpoint)
        if got.status != 200:
            raise refusal(subject, got.status, got.headers, time.time())
        return got


def file_url(endpoint: httpx.URL, repo: str, commit: str, path: str) -> str:
    """Where a file of a commit is fetched from."""
    return str(_at(endpoint, f"/{repo}/resolve/{commit}/{quote(path)}"))


def _at(endpoint: httpx.URL, path: str) -> httpx.URL:
    return endpoint.copy_with(raw_path=(endpoint.raw_path.decode("ascii").rstrip("/") + path).encode("ascii"))


def _subject(access: Access, repo: str, revision: str) -> Subject:
    return Subject(endpoint=access.endpoint, repo=repo, revision=revision, token=access.token is not None)


def _not_understood(subject: Subject) -> Unavailable:
    return Unavailable(f"{subject.hub} answered something about {subject.repo} that is not a hub's answer: is it a hub "
                       "that speaks the Hugging Face API?", retry_after=300.0, param=REPO)
