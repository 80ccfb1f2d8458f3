"""Which files a source stands for, and whose token goes where."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from paddock_api.errors import Code, PaddockError
from paddock_api.source import FileSource, HttpSource, HuggingFaceSource, Source
from paddock_runtime.store import Credentials
from paddock_runtime.store.places import local_files, remote_files, siblings

A, B = "a" * 64, "b" * 64
HUB = Source(hugging_face=HuggingFaceSource(repo="org/repo", credential="team"))
TOKEN = "hf_canary0123456789"


def test_shards_are_found_by_the_name_of_the_first() -> None:
    assert siblings("dir/m-00001-of-00003.gguf") == [f"dir/m-0000{number}-of-00003.gguf" for number in (1, 2, 3)]


@pytest.mark.parametrize("name", [
    "m.gguf", "m-00002-of-00003.gguf", "m-00001-of-00001.gguf", "m-00001-of-99999.gguf", "m-1-of-3.gguf",
    "m-00001-of-00003.gguf.part",
])
def test_other_names_stand_for_themselves(name: str) -> None:
    assert siblings(name) == [name]


def test_files_in_volumes_ignore_the_places_that_others_name(tmp_path: Path) -> None:
    source = FileSource(volume="v", path="m-00001-of-00002.gguf", sha256=A)
    found = local_files(source, ["/etc/passwd", "/etc/shadow"], {"v": tmp_path}, anywhere=False)
    assert [(file.path, file.sha256) for file in found] == [
        (tmp_path / "m-00001-of-00002.gguf", A), (tmp_path / "m-00002-of-00002.gguf", None)]


def test_a_pod_has_no_files_outside_of_volumes() -> None:
    with pytest.raises(PaddockError) as caught:
        local_files(FileSource(path="/etc/passwd"), [], {}, anywhere=False)
    assert (caught.value.code, caught.value.param) == (Code.SOURCE_REFUSED, "source.file.volume")


def test_remote_files_each_have_their_digest() -> None:
    found = remote_files(HUB, ["https://hub/1", "https://hub/2"], [A, B])
    assert [(str(file.url), file.sha256, file.credential) for file in found] == [
        ("https://hub/1", A, "team"), ("https://hub/2", B, "team")]


@pytest.mark.parametrize(("files", "sha256s"), [([], []), (["https://hub/1"], []), (["https://hub/1"], [A, B])])
def test_what_is_not_resolved_is_refused(files: list[str], sha256s: list[str]) -> None:
    with pytest.raises(PaddockError) as caught:
        remote_files(HUB, files, sha256s)
    assert (caught.value.code, caught.value.param) == (Code.SOURCE_REFUSED, "source.huggingFace")


def test_an_http_source_may_lie_at_a_mirror_with_its_own_digest_only() -> None:
    source = Source(http=HttpSource(url="https://here/f", sha256=A))
    assert str(remote_files(source, ["https://mirror/f"], [A])[0].url) == "https://mirror/f"
    assert str(remote_files(source, [], [])[0].url) == "https://here/f"
    with pytest.raises(PaddockError):
        remote_files(source, ["https://mirror/f"], [B])


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    for name, endpoint in (("team", "https://hub.example"), ("odd", "https://hub.example:8443/api"), ("plain", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(f"{TOKEN}\n")
        if endpoint:
            (tmp_path / name / "endpoint").write_text(f"{endpoint}\n")
    return Credentials(tmp_path, "https://huggingface.co")


@pytest.mark.parametrize(("name", "url", "sent"), [
    ("team", "https://hub.example/org/repo/resolve/c/f", True),
    ("team", "https://HUB.example:443/x", True),
    ("team", "http://hub.example/x", False),
    ("team", "https://hub.example:8443/x", False),
    ("team", "https://hub.example.evil.org/x", False),
    ("team", "https://cdn.hub.example/x", False),
    ("odd", "https://hub.example:8443/x", True),
    ("odd", "https://hub.example/x", False),
    ("plain", "https://huggingface.co/x", True),
    ("plain", "https://hub.example/x", False),
])
def test_a_token_is_for_the_origin_of_its_endpoint(credentials: Credentials, name: str, url: str, sent: bool) -> None:
    assert credentials.token_for(name, httpx.URL(url)) == (TOKEN if sent else None)


@pytest.mark.parametrize("name", ["missing", "..", "", "team/../plain", "a/b"])
def test_a_credential_that_is_not_there_is_said(credentials: Credentials, name: str) -> None:
    with pytest.raises(PaddockError) as caught:
        credentials.token_for(name, httpx.URL("https://hub.example/x"))
    assert caught.value.code == Code.SOURCE_UNAVAILABLE
    assert "spec.credentials" in caught.value.message


@pytest.mark.parametrize("token", [f"{TOKEN}\r\nX-Evil: 1", f"{TOKEN} {TOKEN}", f"{TOKEN}\x00", f"{TOKEN}ä"])
def test_a_token_that_is_none_is_not_shown(credentials: Credentials, tmp_path: Path, token: str) -> None:
    (tmp_path / "team" / "token").write_text(token)
    with pytest.raises(PaddockError) as caught:
        credentials.token_for("team", httpx.URL("https://hub.example/x"))
    assert "canary" not in caught.value.message


def test_a_rotated_token_counts_at_once(credentials: Credentials, tmp_path: Path) -> None:
    (tmp_path / "team" / "token").write_text("hf_next")
    assert credentials.token_for("team", httpx.URL("https://hub.example/x")) == "hf_next"
