"""Inputs 1, 5 and 7 of a hub that means harm: headers, file names, tokens."""

from __future__ import annotations

import logging
import random
import shutil
import struct
from pathlib import Path

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_operator.resolve import Credential, Resolver
from paddock_operator.resolve.header import FIRST_BYTES, LONGEST_BYTES
from tests.hub import Behaviour, Double, Hub, Repo
from tests.integration.operator_resolve.kit import REPO, failure, hub, resolve

CANARY = "hf_CANARY"
HEADER_BYTES = 12 << 20
MUTATIONS = 60


def mutated(original: bytes, dice: random.Random) -> bytes:
    """Bytes flipped, overwritten with extreme numbers: among counts and keys, or anywhere."""
    data = bytearray(original)
    for _ in range(dice.randint(1, 4)):
        at = dice.choice([dice.randrange(2000), dice.randrange(len(data))])
        data[at : at + 8] = dice.choice([dice.randbytes(8), b"\xff" * 8, bytes(8), struct.pack("<Q", 1 << 31)])
    return bytes(data)


def first_bytes_of(path: Path) -> tuple[bytes, int]:
    """The part that holds the header, and the size of the whole."""
    with path.open("rb") as stream:
        return stream.read(HEADER_BYTES), path.stat().st_size


def with_header(path: Path, header: bytes, size: int) -> Path:
    """A file of this size whose other bytes take no room."""
    with path.open("wb") as stream:
        stream.write(header)
        stream.truncate(size)
    return path


async def test_mutated_headers_end_in_facts_or_a_clear_error(
    double: Double, resolver: Resolver, gemma: Path, tmp_path: Path
) -> None:
    original, size = first_bytes_of(gemma)
    dice = random.Random(7)
    outcomes: list[str] = []
    for number in range(MUTATIONS):
        path = with_header(tmp_path / f"{number}.gguf", mutated(original, dice), size)
        double.repos[REPO] = _unverified(path, number)
        double.seen.clear()
        try:
            await resolve(resolver, hub(revision=double.repos[REPO].branches["main"]))
            outcomes.append("read")
        except PaddockError as error:
            outcomes.append(_clear(error))
        finally:
            path.unlink()
        assert sum(seen.sent for seen in double.asked(place="store")) <= LONGEST_BYTES
    assert set(outcomes) == {"read", Code.INVALID_MODEL_FILE}
    assert outcomes.count(Code.INVALID_MODEL_FILE) > MUTATIONS // 6


def _clear(error: PaddockError) -> str:
    assert error.message.isprintable()
    assert error.message.startswith(f"{REPO}: 'm.gguf' can't be used: ")
    assert len(error.message) < 6000
    return error.code


def _unverified(path: Path, number: int) -> Repo:
    """A repository whose digest is made up: hashing 253 MB for each mutation would prove nothing."""
    repo = Repo(REPO)
    repo.commit({"m.gguf": f"{number}".encode()})
    file = next(iter(repo.commits[repo.branches["main"]].values()))
    digest = file.sha256
    object.__setattr__(file, "content", path)
    file.__dict__.update(sha256=digest, size=path.stat().st_size)
    return repo


@pytest.mark.parametrize("name", [
    "../../etc/x-Q8_0.gguf", "/etc/x-Q8_0.gguf", "..\\x-Q8_0.gguf", "a/%2e%2e/x-Q8_0.gguf", "a/%2E%2E%2Fx-Q8_0.gguf",
    "x\0-Q8_0.gguf", "a/../../x-Q8_0.gguf", "x\r\nSet-Cookie: a-Q8_0.gguf", "\x1b[2Jx-Q8_0.gguf", "./x-Q8_0.gguf"])
async def test_names_that_leave_the_repository_are_refused_before_they_are_asked_for(
    double: Double, resolver: Resolver, name: str
) -> None:
    double.repo(REPO).commit({name: b"GGUF"})
    error = await failure(resolver, hub())
    assert (error.code, error.param) == (Code.SOURCE_REFUSED, "source.huggingFace.repo")
    assert double.count("/api/*") == double.count() == 2


@pytest.mark.parametrize(("repo", "revision", "param"), [
    ("../..", "main", "repo"), ("org/..", "main", "repo"), ("./x", "main", "repo"), (REPO, "..", "revision"),
    (REPO, ".", "revision"), (REPO, "a\nb", "revision"), (REPO, "a\\b", "revision")])
async def test_names_that_lead_elsewhere_on_the_hub_are_refused(
    double: Double, resolver: Resolver, repo: str, revision: str, param: str
) -> None:
    source = hub(REPO)
    assert source.hugging_face is not None
    # As if a check at admission were missing: the resolver does not rely on it.
    bad = source.model_copy(update={"hugging_face": source.hugging_face.model_copy(
        update={"repo": repo, "revision": revision})})
    error = await failure(resolver, bad)
    assert (error.code, error.param) == (Code.SOURCE_REFUSED, f"source.huggingFace.{param}")
    assert double.seen == []


async def test_a_revision_stays_one_segment_of_the_path(double: Double, resolver: Resolver) -> None:
    double.repo(REPO).commit({"m.gguf": b"GGUF"})
    for revision in ("../../../x", "a?b=c", "a#b", "%2e%2e/x", "ü b"):
        await failure(resolver, hub(revision=revision))
    assert {seen.path.rpartition("/")[0] for seen in double.seen} == {f"/api/models/{REPO}/revision"}
    assert {seen.query for seen in double.seen} == {"expand=sha"}


async def test_the_token_is_nowhere_but_at_its_hub(
    double: Double, endpoint: str, resolver: Resolver, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Input 7. With every logger at its most talkative, on the way to success and through every refusal."""
    caplog.set_level(logging.DEBUG)
    double.tokens[CANARY] = "alice"
    double.repo(REPO).commit({"m.gguf": weights})
    double.repos[REPO].gated = "manual"
    double.repos[REPO].granted = {"alice"}
    credentials = {"mine": Credential(CANARY)}
    source = hub(credential="mine")
    found = await resolve(resolver, source, credentials=credentials)
    said = [repr(found), repr(credentials), found.facts.model_dump_json(), found.resolution.model_dump_json()]
    commit = double.repos[REPO].branches["main"]
    double.repo("org/old").renamed_to = REPO
    said.extend([_told(await failure(resolver, hub(name, credential="mine"), credentials=credentials))
                 for name in ("org/none", "org/old")])
    # From now on files that no answer is remembered of.
    for number, behaviour in enumerate((
        Behaviour(status=500), Behaviour(status=401), Behaviour(status=403), Behaviour(cut=0), Behaviour(status=404),
        Behaviour.redirect("http://10.0.0.1/x"), Behaviour(status=200, body=b"<html>"),
        Behaviour(status=429, headers={"Retry-After": "1"}))):
        double.repo(f"org/n{number}").commit({"m.gguf": weights})
        double.fail(f"/org/n{number}/resolve/*", behaviour)
        named = hub(f"org/n{number}", credential="mine")
        said.append(_told(await failure(resolver, named, credentials=credentials)))
    assert not [text for text in [*said, caplog.text] if CANARY in text]
    assert "Signature" not in "".join(said)
    with_token = double.asked(place="hub")
    assert with_token
    assert {seen.headers["authorization"] for seen in with_token} == {f"Bearer {CANARY}"}
    assert not [seen for seen in with_token if CANARY in seen.path + seen.query]
    stored = double.asked(place="store")
    assert stored
    assert not [seen for seen in stored if CANARY in str(seen)]
    assert commit == found.resolution.commit


def _told(error: PaddockError) -> str:
    return f"{error!r} {error.message} {error.body()}"


async def test_a_redirect_away_and_back_comes_without_the_token(double: Double, endpoint: str, weights: Path) -> None:
    """Another host that sends the request back to the hub does not get it to be sent with the token."""
    double.repo(REPO).commit({"m.gguf": weights})
    double.tokens[CANARY] = "alice"
    async with Hub() as other:
        commit = double.repos[REPO].branches["main"]
        double.fail("/*/resolve/*", Behaviour.redirect(other.url("/away")))
        other.always("/away", Behaviour.redirect(f"{endpoint}/{REPO}/resolve/{commit}/m.gguf"))
        resolver = Resolver(endpoint=endpoint, allow_hosts=[other.host, f"127.0.0.1:{double.cdn_port}"])
        found = await resolve(resolver, hub(credential="mine"), credentials={"mine": Credential(CANARY)})
        await resolver.aclose()
        assert found.facts.architecture == "llama"
        assert not [seen for seen in other.seen if CANARY in str(seen.headers)]
        first, back = double.asked("*/resolve/*")
        assert "authorization" in first.headers
        assert "authorization" not in back.headers


async def test_a_redirect_of_the_hub_into_a_private_network_is_refused(
    double: Double, resolver: Resolver, weights: Path
) -> None:
    double.repo(REPO).commit({"m.gguf": weights})
    double.fail("/*/resolve/*", Behaviour.redirect("http://169.254.169.254/latest/meta-data"))
    error = await failure(resolver, hub())
    assert error.code == Code.SOURCE_REFUSED
    assert "not on the public Internet" in error.message


async def test_an_architecture_with_control_characters_is_shown_without_them(
    double: Double, resolver: Resolver, weights: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.gguf"
    shutil.copyfile(weights, path)
    data = path.read_bytes()
    start = data.index(b"general.architecture") + len(b"general.architecture") + 4 + 8
    assert data[start : start + 5] == b"llama"
    double.repo(REPO).commit({"m.gguf": data[:start] + b"\x1b[2J\n" + data[start + 5 :]})
    found = await resolve(resolver, hub())
    assert found.facts.architecture == "?[2J?"
    assert double.asked(place="store")[0].sent <= FIRST_BYTES
