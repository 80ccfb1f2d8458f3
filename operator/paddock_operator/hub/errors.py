"""What a hub refuses, by type: a catalog must tell them apart, a status shows their message."""

from __future__ import annotations

from paddock_api.errors import Code, PaddockError

# Access can be granted, a repository published, without anybody touching the cluster: worth another look by then.
LOOK_AGAIN_SECONDS = 900.0


class HubError(PaddockError):
    """Base of the refusals. With `retry_after` although it lasts: what is missing may appear outside the cluster."""

    code_of_kind = Code.SOURCE_REFUSED

    def __init__(
        self, message: str, *, param: str | None = None, retry_after: float | None = LOOK_AGAIN_SECONDS
    ) -> None:
        super().__init__(self.code_of_kind, message, param=param, retry_after=retry_after)


class Gated(HubError):
    """The repository is there, its files are for those whom its owner granted access."""


class BadToken(HubError):
    """The hub does not accept the token at all."""


class Disabled(HubError):
    """The hub's owner closed the repository."""


class RepoNotFound(HubError):
    """No such repository, or a private one: hubs do not say which."""

    code_of_kind = Code.SOURCE_NOT_FOUND


class RepoRenamed(HubError):
    """The repository has another name now: `new_name`, if the hub says which."""

    code_of_kind = Code.SOURCE_NOT_FOUND

    def __init__(self, message: str, *, new_name: str | None, param: str | None = None) -> None:
        super().__init__(message, param=param, retry_after=None)
        self.new_name = new_name


class RevisionNotFound(HubError):
    code_of_kind = Code.SOURCE_NOT_FOUND


class EntryNotFound(HubError):
    code_of_kind = Code.SOURCE_NOT_FOUND


class Unavailable(HubError):
    """May pass: ask again after `retry_after` seconds."""

    code_of_kind = Code.SOURCE_UNAVAILABLE

    def __init__(self, message: str, *, retry_after: float = 30.0, param: str | None = None) -> None:
        super().__init__(message, param=param, retry_after=retry_after)


class RateLimited(Unavailable):
    """The hub's quota is used up for `retry_after` seconds."""
