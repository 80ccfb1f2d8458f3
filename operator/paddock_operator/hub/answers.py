"""What a hub's refusal means, and what can be done about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import httpx

from paddock_operator.hub.credentials import PARAM as CREDENTIAL
from paddock_operator.hub.errors import (
    BadToken,
    Disabled,
    EntryNotFound,
    Gated,
    HubError,
    RateLimited,
    RepoNotFound,
    RepoRenamed,
    RevisionNotFound,
    Unavailable,
)
from paddock_operator.hub.limits import pause, retry_after
from paddock_operator.hub.urls import shown

REPO, REVISION, FILE = "source.huggingFace.repo", "source.huggingFace.revision", "source.huggingFace.file"
_PASSING = frozenset({408, 425, 500, 502, 503, 504, 520, 521, 522, 523, 524})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NAMED = re.compile(r"/(?:api/models/)?([A-Za-z0-9_.-]{1,96}/[A-Za-z0-9_.-]{1,96})(?:/|$)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What was asked for, and whether a token went along."""

    endpoint: httpx.URL
    repo: str
    revision: str
    file: str | None = None
    token: bool = False

    @property
    def page(self) -> str:
        """Where a person reads of the repository."""
        return f"{self.hub}/{self.repo}"

    @property
    def hub(self) -> str:
        return shown(self.endpoint).rstrip("/")


def refusal(subject: Subject, status: int, headers: Mapping[str, str], now: float) -> HubError:
    """The error for an answer that is not what was asked for. `now`: seconds since 1970."""
    code, said = headers.get("x-error-code", ""), headers.get("x-error-message", "")
    if status == 429:
        wait = pause(status, headers, now) or 60.0
        return RateLimited(f"{subject.hub} has limited the requests from here; it is asked again in {wait:.0f} s",
                           retry_after=wait)
    if status in _PASSING:
        return Unavailable(f"{subject.hub} has trouble (HTTP {status}); it is asked again",
                           retry_after=retry_after(headers, now) or 30.0)
    if status in _REDIRECTS:
        return _renamed(subject, headers.get("location", ""))
    if said == "Access to this resource is disabled.":
        return Disabled(f"{subject.repo} was disabled by {subject.hub}: name another repository", param=REPO)
    if status == 401 and subject.token and not code:
        return BadToken(f"{subject.hub} does not accept the token of the credential: put a valid one into its Secret",
                        param=CREDENTIAL)
    if (kind := _by_code(subject, code)) is not None:
        return kind
    if status in (401, 404, 410):
        return _no_repo(subject)
    if status == 403:
        return HubError(f"{subject.hub} refuses access to {subject.repo} (HTTP 403): check what the token of the "
                        "credential may read", param=CREDENTIAL)
    return HubError(f"{subject.hub} answered HTTP {status} when asked for {subject.repo}: is it a hub that speaks the "
                    "Hugging Face API?", param=REPO)


def _by_code(subject: Subject, code: str) -> HubError | None:
    match code:
        case "GatedRepo":
            then = ("with the account of the credential's token" if subject.token else
                    "and name a credential of the pool with your token in source.huggingFace.credential")
            return Gated(f"{subject.repo} is gated: ask for access at {subject.page} {then}", param=REPO)
        case "RepoNotFound":
            return _no_repo(subject)
        case "RevisionNotFound":
            return RevisionNotFound(f"{subject.repo} has no revision {subject.revision!r}: name a branch, a tag or a "
                                    f"full commit that {subject.page} shows", param=REVISION)
        case "EntryNotFound":
            return EntryNotFound(f"{subject.repo} has no file {subject.file!r} at {subject.revision}: see "
                                 f"{subject.page}", param=FILE)
    return None


def _no_repo(subject: Subject) -> RepoNotFound:
    hint = ("the account of the credential's token can't see it" if subject.token else
            "it is private: then name a credential of the pool in source.huggingFace.credential")
    return RepoNotFound(f"{subject.hub} has no repository {subject.repo}, or {hint}; check its spelling", param=REPO)


def _renamed(subject: Subject, location: str) -> HubError:
    try:
        target = subject.endpoint.join(location)
    except (httpx.InvalidURL, ValueError):
        return Unavailable(f"{subject.hub} redirects to what is not a URL")
    base = subject.endpoint.path.rstrip("/")
    named = _NAMED.match(unquote(target.path.removeprefix(base)))
    if target.host != subject.endpoint.host or named is None or named[1] == subject.repo:
        return HubError(f"{subject.hub} redirects requests for {subject.repo} to {shown(target)}: correct the hub's "
                        "endpoint (PADDOCK_HF_ENDPOINT, or the credential's)", param=REPO)
    return RepoRenamed(f"{subject.repo} is called {named[1]} now: write that name", new_name=named[1], param=REPO)
