"""Which answer a request gets, as the hub answers huggingface_hub 2.4.0. Pure, given the repositories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.hub import documents
from tests.hub.messages import Asked, Reply, Unknown
from tests.hub.repos import Repo

TREE_PAGE = 1000
LIST_PAGE = 1000


@dataclass
class Routes:
    """`tokens`: token → account. `cdn` gives the origin of the file store for a request. `pages`: entries a page."""

    repos: dict[str, Repo]
    tokens: dict[str, str]
    cdn: Callable[[Asked], str]
    pages: dict[str, int] = field(default_factory=lambda: {"tree": TREE_PAGE, "list": LIST_PAGE})

    def answer(self, asked: Asked) -> Reply:
        """Raises Unknown."""
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if token and token not in self.tokens:
            return Reply.error(401, "Invalid credentials in Authorization header")
        account = self.tokens.get(token)
        match asked.parts:
            case ("api", "agent-harnesses") if asked.method == "GET":  # asked once a day, for the user agent
                return Reply.json({"standardEnvVars": [], "harnesses": {}})
            case ("api", "models") if asked.method == "GET":
                return self._list(asked, account)
            case ("api", "models", owner, name, *rest) if asked.method == "GET":
                return self._api(asked, account, f"{owner}/{name}", rest)
            case (owner, name, "resolve", revision, *path) if path and asked.method in ("GET", "HEAD"):
                return self._resolve(asked, account, f"{owner}/{name}", revision, "/".join(path))
        raise Unknown("no such route")

    def _api(self, asked: Asked, account: str | None, name: str, rest: list[str]) -> Reply:
        repo = self._repo(name, account, asked)
        if isinstance(repo, Reply):
            return repo
        match rest:
            case []:
                return self._model(asked, repo, "main")
            case ["revision", revision]:
                return self._model(asked, repo, revision)
            case ["tree", revision, *folder]:
                return self._tree(asked, repo, revision, "/".join(folder))
            case ["refs"]:
                _only(asked)
                return Reply.json(documents.refs(repo))
        raise Unknown("no such route below a model")

    def _repo(self, name: str, account: str | None, asked: Asked) -> Repo | Reply:
        repo = self.repos.get(name)
        if repo is None or (repo.private and account not in repo.granted):
            if account is None:  # the hub does not tell strangers what exists
                return Reply.error(401, "Invalid username or password.", "RepoNotFound")
            return Reply.error(404, "Repository not found", "RepoNotFound")
        if repo.renamed_to is not None:
            query = "?" + "&".join(f"{key}={value}" for key, value in asked.query) if asked.query else ""
            return Reply(307, {"Location": asked.raw_path.replace(name, repo.renamed_to, 1) + query})
        if repo.disabled:
            return Reply.error(403, "Access to this resource is disabled.")
        return repo

    def _model(self, asked: Asked, repo: Repo, revision: str) -> Reply:
        _only(asked, "blobs", "expand")
        unknown = set(asked.many("expand")) - documents.EXPANDABLE
        if unknown:
            raise Unknown(f"expand={unknown}")
        sha = repo.find(revision)
        if sha is None:
            return _no_revision(revision)
        return Reply.json(documents.model(repo, sha, blobs=asked.is_true("blobs"), expand=asked.many("expand")))

    def _tree(self, asked: Asked, repo: Repo, revision: str, folder: str) -> Reply:
        _only(asked, "recursive", "expand", "cursor", "limit")
        if asked.is_true("expand"):
            raise Unknown("a tree with expand")
        sha = repo.find(revision)
        if sha is None:
            return _no_revision(revision)
        entries = documents.tree(repo, sha, folder, recursive=asked.is_true("recursive"))
        if folder and not entries:
            return Reply.error(404, f"{folder} does not exist on \"{revision}\"", "EntryNotFound")
        return _page(asked, entries, self.pages["tree"])

    def _list(self, asked: Asked, account: str | None) -> Reply:
        _only(asked, "author", "search", "filter", "sort", "direction", "limit", "full", "expand", "cursor")
        found = [repo for repo in self.repos.values() if "main" in repo.branches and repo.renamed_to is None
                 and (not repo.private or account in repo.granted)
                 and (not asked.one("author") or repo.id.split("/")[0] == asked.one("author"))
                 and asked.one("search").lower() in repo.id.lower()]
        if asked.one("sort", "lastModified") != "lastModified" or any(tag != "gguf" for tag in asked.many("filter")):
            raise Unknown("a sort or filter other than lastModified and gguf")
        found.sort(key=lambda repo: (-repo.modified, repo.id))
        entries = [documents.model(repo, repo.branches["main"], expand=asked.many("expand")) for repo in found]
        return _page(asked, entries, self.pages["list"])

    def _resolve(self, asked: Asked, account: str | None, name: str, revision: str, path: str) -> Reply:
        _only(asked, "download")
        repo = self._repo(name, account, asked)
        if isinstance(repo, Reply):
            return repo
        sha = repo.find(revision)
        if sha is None:
            return _no_revision(revision)
        if repo.gated and account not in repo.granted:
            return Reply.error(403 if account else 401, f"Access to model {repo.id} is restricted. You must have "
                               "access to it and be authenticated to access it.", "GatedRepo")
        file = repo.commits[sha].get(path)
        if file is None:
            return Reply.error(404, "Entry not found", "EntryNotFound")
        headers = {"X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        if not file.is_lfs:
            return Reply(200, {**headers, "ETag": f'"{file.oid}"'}, file=file)
        location = f"{self.cdn(asked)}/repos/{file.sha256}?Expires=1&Signature=s3cr3t-{file.sha256[:8]}"
        return Reply(302, {**headers, "Location": location, "X-Linked-Size": str(file.size),
                           "X-Linked-Etag": f'"{file.sha256}"', "ETag": f'"{file.oid}"'}, body=location.encode())

    def store(self, asked: Asked) -> Reply:
        """The file store behind the redirect, another origin. Raises Unknown."""
        if "authorization" in asked.headers:  # as the real one: the URL is signed, and one of the two must not be there
            return Reply.error(400, "Only one auth mechanism allowed")
        match asked.parts:
            case ("repos", sha256) if asked.method in ("GET", "HEAD"):
                if not asked.one("Signature"):
                    return Reply.error(403, "Missing signature")
                for repo in self.repos.values():
                    for tree in repo.commits.values():
                        for file in tree.values():
                            if file.is_lfs and file.sha256 == sha256:
                                return Reply(200, {"ETag": f'"{sha256}"'}, file=file)
                return Reply.error(404, "NoSuchKey")
        raise Unknown("no such route in the file store")


def _only(asked: Asked, *names: str) -> None:
    unknown = {key for key, _ in asked.query} - set(names)
    if unknown:
        raise Unknown(f"the query parameters {', '.join(sorted(unknown))}")


def _no_revision(revision: str) -> Reply:
    return Reply.error(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def _page(asked: Asked, entries: list[documents.Json], most: int) -> Reply:
    """One page, and where the next one is, by absolute URL."""
    size = min(int(asked.one("limit", str(most))), most)
    start = int(asked.one("cursor", "0"))
    headers = {}
    if start + size < len(entries):
        query = "&".join(f"{key}={value}" for key, value in asked.query if key != "cursor")
        following = f"{asked.origin}{asked.raw_path}?{query + '&' if query else ''}cursor={start + size}"
        headers["Link"] = f'<{following}>; rel="next"'
    return Reply.json(entries[start : start + size], headers)
