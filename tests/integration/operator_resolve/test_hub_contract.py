"""The double is honest: the real huggingface_hub client is content with it, and gets its own typed errors."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder

from tests.hub import Behaviour, Double

WEIGHTS = b"GGUF" + bytes(range(256)) * 1024
ALICE = "hf_alice"


@pytest.fixture
def api(endpoint: str) -> HfApi:
    return HfApi(endpoint=endpoint, token=False)


def test_model_info_with_files(double: Double, api: HfApi) -> None:
    repo = double.repo("org/model")
    old = repo.commit({"a-Q8_0.gguf": b"old"})
    sha = repo.commit({"a-Q8_0.gguf": WEIGHTS, "README.md": b"# hello"})
    info = api.model_info("org/model", files_metadata=True)
    assert info.sha == sha
    assert info.gated is False
    assert info.last_modified is not None
    assert info.siblings is not None
    readme, weights = info.siblings
    assert (readme.rfilename, readme.size, readme.lfs) == ("README.md", 7, None)
    assert (weights.rfilename, weights.size) == ("a-Q8_0.gguf", len(WEIGHTS))
    assert weights.lfs is not None
    assert weights.lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert api.model_info("org/model", revision=old).sha == old
    assert api.model_info("org/model", expand=["sha"]).sha == sha


def test_revisions_with_slashes(double: Double, api: HfApi) -> None:
    repo = double.repo("org/model")
    repo.commit({"a.txt": b"1"})
    sha = repo.commit({"a.txt": b"2"}, branch="user/try")
    repo.tags["v1"] = sha
    for name in ("user/try", "refs/heads/user/try", "v1"):
        assert api.model_info("org/model", revision=name).sha == sha
    refs = api.list_repo_refs("org/model")
    assert {branch.name: branch.target_commit for branch in refs.branches}["user/try"] == sha
    assert [(tag.name, tag.ref) for tag in refs.tags] == [("v1", "refs/tags/v1")]


def test_the_tree_page_by_page(double: Double, api: HfApi) -> None:
    double.routes.pages["tree"] = 3
    double.repo("org/model").commit({f"sub/{number}.gguf": bytes([number]) for number in range(8)} | {"b.txt": b"b"})
    found = list(api.list_repo_tree("org/model", recursive=True))
    files = [entry for entry in found if isinstance(entry, RepoFile)]
    assert [entry.path for entry in found if isinstance(entry, RepoFolder)] == ["sub"]
    assert [file.path for file in files] == ["b.txt", *(f"sub/{number}.gguf" for number in range(8))]
    assert files[1].lfs is not None
    assert files[1].lfs.sha256 == hashlib.sha256(b"\0").hexdigest()
    assert double.count("*/tree/*") == 4
    assert [entry.path for entry in api.list_repo_tree("org/model")] == ["b.txt", "sub"]


def test_lists_of_models_page_by_page(double: Double, api: HfApi) -> None:
    double.routes.pages["list"] = 2
    for name in ("a/one", "a/two", "b/three", "a/four", "a/five"):
        double.repo(name).commit({"m.gguf": name.encode()})
    double.repo("a/two").commit({"m.gguf": b"newer"})
    double.repo("a/two").commit({"m.gguf": b"newest"})
    found = list(api.list_models(author="a", sort="last_modified", expand=["sha", "lastModified"]))
    assert [model.id for model in found] == ["a/two", "a/five", "a/four", "a/one"]
    assert found[0].sha == double.repos["a/two"].branches["main"]
    assert double.count("/api/models?*") == 2


def test_downloads_go_through_the_file_store_without_the_token(double: Double, endpoint: str, tmp_path: Path) -> None:
    sha = double.repo("org/model").commit({"q/m.gguf": WEIGHTS, "config.json": b"{}"})
    for name, content in (("q/m.gguf", WEIGHTS), ("config.json", b"{}")):
        path = hf_hub_download("org/model", name, endpoint=endpoint, cache_dir=tmp_path, token=ALICE)
        assert Path(path).read_bytes() == content
        assert sha in path
    stored = double.asked(place="store")
    assert [request.method for request in stored] == ["GET"]
    assert "authorization" not in stored[0].headers
    assert {request.headers["authorization"] for request in double.asked(place="hub")} == {f"Bearer {ALICE}"}


def test_a_download_that_was_cut_resumes_by_range(double: Double, endpoint: str, tmp_path: Path) -> None:
    step = 10 << 20  # what huggingface_hub writes at once, and so where it can go on
    content = bytes(step + (2 << 20))
    double.repo("org/model").commit({"m.gguf": content})
    double.fail("/repos/*", Behaviour(cut=step + (1 << 20)))
    path = hf_hub_download("org/model", "m.gguf", endpoint=endpoint, cache_dir=tmp_path, token=False)
    assert Path(path).read_bytes() == content
    first, second = double.asked(place="store")
    assert (first.status, first.sent) == (200, step + (1 << 20))
    assert (second.status, second.sent, second.headers["range"]) == (206, 2 << 20, f"bytes={step}-")


def test_typed_errors(double: Double, api: HfApi, endpoint: str, tmp_path: Path) -> None:
    gated = double.repo("org/gated")
    gated.commit({"m.gguf": WEIGHTS})
    gated.gated = "manual"
    gated.granted = {"alice"}
    double.repo("org/private").commit({"m.gguf": WEIGHTS})
    double.repos["org/private"].private = True

    def fetch(name: str, file: str, token: str | bool = False, revision: str = "main") -> str:
        return hf_hub_download(name, file, revision=revision, endpoint=endpoint, cache_dir=tmp_path, token=token)

    assert api.model_info("org/gated").gated == "manual"
    for token in (False, "hf_bob"):
        with pytest.raises(GatedRepoError):
            fetch("org/gated", "m.gguf", token)
    assert Path(fetch("org/gated", "m.gguf", ALICE)).read_bytes() == WEIGHTS
    for attempt in (lambda: api.model_info("org/none"), lambda: api.model_info("org/none", token=ALICE),
                    lambda: api.model_info("org/private"), lambda: fetch("org/none", "m.gguf")):
        with pytest.raises(RepositoryNotFoundError):
            attempt()
    with pytest.raises(RevisionNotFoundError):
        api.model_info("org/gated", revision="none")
    with pytest.raises(RevisionNotFoundError):
        fetch("org/gated", "m.gguf", ALICE, "none")
    with pytest.raises(EntryNotFoundError):
        fetch("org/gated", "none.gguf", ALICE)
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        api.model_info("org/gated", token="hf_wrong")


def test_a_renamed_repository_redirects(double: Double, api: HfApi, endpoint: str, tmp_path: Path) -> None:
    double.repo("org/new").commit({"m.gguf": WEIGHTS})
    double.repo("org/old").renamed_to = "org/new"
    assert api.model_info("org/old", files_metadata=True).id == "org/new"
    path = hf_hub_download("org/old", "m.gguf", endpoint=endpoint, cache_dir=tmp_path, token=False)
    assert Path(path).read_bytes() == WEIGHTS


def test_the_quota_is_told_and_enforced(double: Double, api: HfApi) -> None:
    double.repo("org/model").commit({"m.gguf": WEIGHTS})
    double.quota.limits["api"] = 2
    for _ in range(2):
        api.model_info("org/model")
    with pytest.raises(HfHubHTTPError, match=r"Retry after \d+ seconds \(0/2 requests remaining in current 300s"):
        api.model_info("org/model")


def test_what_it_does_not_know_fails_loudly(double: Double, api: HfApi) -> None:
    double.repo("org/model").commit({"m.gguf": WEIGHTS})
    with pytest.raises(HfHubHTTPError, match="the double does not know"):
        api.get_paths_info("org/model", ["m.gguf"])
    with pytest.raises(HfHubHTTPError, match="the double does not know"):
        api.model_info("org/model", expand=["gguf"])
    assert [line.split(": ")[1] for line in double.unknown] == [
        "POST /api/models/org/model/paths-info/main?", "GET /api/models/org/model?expand=gguf"]
    double.unknown.clear()


def test_a_process_that_serves_a_directory(tmp_path: Path) -> None:
    """As a pod runs it: with HF_ENDPOINT set before huggingface_hub is imported."""
    main, other = tmp_path / "root/org/model", tmp_path / "root/org/model@dev"
    for folder, content in ((main, WEIGHTS), (other, b"GGUF of another branch")):
        folder.mkdir(parents=True)
        (folder / "m-Q8_0.gguf").write_bytes(content)
    (main / ".hub.json").write_text(json.dumps({"gated": "auto", "granted": ["alice"]}))
    (tmp_path / "root/.tokens.json").write_text(json.dumps({ALICE: "alice"}))
    process = subprocess.Popen([sys.executable, "-m", "tests.hub", str(tmp_path / "root")], stdout=subprocess.PIPE,
                               text=True)
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["repos"] == ["org/model"]
        base = f"http://127.0.0.1:{ready['port']}"
        code = ("from huggingface_hub import *\n"
                "for revision in ('main', 'dev'):\n"
                "    print(open(hf_hub_download('org/model', 'm-Q8_0.gguf', revision=revision), 'rb').read()[:8])\n"
                "print(model_info('org/model', files_metadata=True).siblings[0].rfilename)\n")
        client = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False,
                                env={**os.environ, "HF_ENDPOINT": base, "HF_TOKEN": ALICE, "HF_HOME": str(tmp_path),
                                     "HF_HUB_DISABLE_TELEMETRY": ""})
        assert client.stdout.splitlines() == [str(WEIGHTS[:8]), "b'GGUF of '", "m-Q8_0.gguf"], client.stderr
        _post(f"{base}/_double/fail", {"pattern": "/api/*", "status": 503, "headers": {"Retry-After": "7"}})
        with pytest.raises(HfHubHTTPError, match="503"):
            HfApi(endpoint=base, token=ALICE).model_info("org/model")
        (main / "m-Q8_0.gguf").write_bytes(b"moved")
        before = HfApi(endpoint=base, token=ALICE).model_info("org/model").sha
        _post(f"{base}/_double/reload", {})
        assert HfApi(endpoint=base, token=ALICE).model_info("org/model").sha != before
        with urllib.request.urlopen(f"{base}/_double/seen") as answer:
            seen = json.load(answer)
        assert seen["unknown"] == []
        assert {request["place"] for request in seen["seen"]} == {"hub", "store"}
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        if process.stdout is not None:
            process.stdout.close()


def _post(url: str, document: dict[str, object]) -> None:
    request = urllib.request.Request(url, json.dumps(document).encode(), method="POST")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
