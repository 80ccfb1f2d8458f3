"""A hub's sources become pinned files, with as few requests as it takes."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import httpx
import pytest

from paddock_api.engine import Engine
from paddock_api.errors import Code
from paddock_api.estimate import engine_options, estimate
from paddock_api.gguf import parse_header
from paddock_api.revision import Resolution
from paddock_api.source import HubSource, Source
from paddock_api.status import ModelFacts
from paddock_operator.resolve import Resolved, Resolver
from paddock_operator.resolve.header import FIRST_BYTES
from tests.hub import Behaviour, Double
from tests.integration.operator_resolve.kit import REPO, failure, hub, resolve, write_shards


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def size(path: Path) -> int:
    return path.stat().st_size


async def test_a_branch_becomes_a_commit_and_a_quant_a_file(
    double: Double, endpoint: str, resolver: Resolver, weights: Path
) -> None:
    content = content_of(weights)
    commit = double.repo(REPO).commit({"README.md": b"#", "m-Q4_K_M.gguf": weights, "m-Q8_0.gguf": b"GGUF"})
    found = await resolve(resolver, hub())
    assert found.resolution == Resolution(
        sha256=sha256(weights), size=len(content), commit=commit,
        files=[f"{endpoint}/{REPO}/resolve/{commit}/m-Q4_K_M.gguf"])
    header = parse_header(content)
    assert found.header == header
    assert found.facts == ModelFacts(
        commit=commit, file="m-Q4_K_M.gguf", sha256=sha256(weights), size_bytes=len(content), architecture="llama",
        parameters=header.facts.parameters, quantization=header.facts.quantization, context_length=8192)
    assert [f"{seen.path}?{seen.query}" for seen in double.asked(place="hub")] == [
        f"/api/models/{REPO}/revision/main?expand=sha", f"/api/models/{REPO}/revision/{commit}?blobs=true",
        f"/{REPO}/resolve/{commit}/m-Q4_K_M.gguf?"]


async def test_the_file_is_where_the_resolution_says(double: Double, resolver: Resolver, weights: Path) -> None:
    """Whoever fetches it needs no more than the resolution."""
    double.repo(REPO).commit({"a b/m #1-Q8_0.gguf": weights})
    found = await resolve(resolver, hub())
    async with httpx.AsyncClient(follow_redirects=True, trust_env=False) as client:
        content = (await client.get(found.resolution.files[0])).content
    assert hashlib.sha256(content).hexdigest() == found.resolution.sha256


async def test_the_real_header_of_gemma_costs_little(double: Double, resolver: Resolver, gemma: Path) -> None:
    double.repo(REPO).commit({"gemma-3-270m-Q4_K_M.gguf": gemma})
    found = await resolve(resolver, hub())
    facts = found.facts
    assert (facts.architecture, facts.quantization, facts.context_length) == ("gemma3", "Q4_K_M", 32768)
    assert found.facts.parameters is not None
    assert 268_000_000 < found.facts.parameters < 269_000_000
    assert found.header is not None
    ranges = double.asked(place="store")
    sent = sum(request.sent for request in ranges)
    assert found.header.data_offset <= sent <= 2 * found.header.data_offset + FIRST_BYTES
    assert double.count("*/resolve/*") == 1, "later ranges go straight to the file store"
    needed = estimate(found.header, engine_options(found.header.facts, Engine())).total_bytes
    assert size(gemma) < needed < 4 * size(gemma)


async def test_shards_are_all_resolved_and_counted_together(
    double: Double, endpoint: str, resolver: Resolver, tmp_path: Path
) -> None:
    shards = write_shards(tmp_path, "m-Q8_0")
    assert len(shards) == 4
    commit = double.repo(REPO).commit({f"sub/{path.name}": path for path in shards})
    found = await resolve(resolver, hub(quant="q8_0"))
    assert found.resolution.files == [f"{endpoint}/{REPO}/resolve/{commit}/sub/{path.name}" for path in shards]
    assert found.resolution.sha256s == [sha256(path) for path in shards]
    assert found.resolution.sha256 == found.resolution.sha256s[0]
    assert found.resolution.size == found.facts.size_bytes == sum(path.stat().st_size for path in shards)
    assert found.facts.parameters == 4 * 64 * 64
    assert found.header is not None
    assert found.header.facts.weights_bytes == 4 * 64 * 64 * 4


async def test_shards_that_do_not_belong_together_are_refused(
    double: Double, resolver: Resolver, tmp_path: Path
) -> None:
    one, two, *_ = write_shards(tmp_path, "m-Q8_0")
    double.repo(REPO).commit({"m-Q8_0-00001-of-00002.gguf": two, "m-Q8_0-00002-of-00002.gguf": one})
    error = await failure(resolver, hub())
    assert (error.code, error.param) == (Code.INVALID_MODEL_FILE, "source.huggingFace.repo")
    assert "shards" in error.message


async def test_revisions_of_every_form(double: Double, resolver: Resolver, weights: Path) -> None:
    repo = double.repo(REPO)
    first = repo.commit({"m.gguf": weights})
    second = repo.commit({"m.gguf": weights, "x": b"x"}, branch="user/try")
    repo.tags["v1.0"] = second
    for revision, commit in (("main", first), ("user/try", second), ("v1.0", second), ("refs/heads/main", first),
                             (first, first), (second, second)):
        assert (await resolve(resolver, hub(revision=revision))).resolution.commit == commit
    assert double.count(f"*/revision/{first}?expand=*") == 0, "a commit is not looked up"


async def test_pin_stays_and_follow_moves(double: Double, resolver: Resolver, weights: Path) -> None:
    repo = double.repo(REPO)
    first = repo.commit({"m.gguf": weights})
    pinned = await resolve(resolver, hub())
    double.seen.clear()
    assert (await resolve(resolver, hub(), pinned=pinned, follow=True)) == pinned
    assert double.count() == 1
    second = repo.commit({"m.gguf": weights, "README.md": b"new"})
    assert (await resolve(resolver, hub(), pinned=pinned)) == pinned
    assert double.count() == 1
    moved = await resolve(resolver, hub(), pinned=pinned, follow=True)
    assert (pinned.resolution.commit, moved.resolution.commit) == (first, second)
    assert moved.resolution.sha256 == pinned.resolution.sha256


async def test_a_pin_needs_no_hub(double: Double, resolver: Resolver, weights: Path) -> None:
    double.repo(REPO).commit({"m.gguf": weights})
    pinned = await resolve(resolver, hub())
    double.repos.clear()
    assert await resolve(resolver, hub(), pinned=pinned) == pinned


class _AfterARestart:
    """What a stored revision tells: no header."""

    header = None

    def __init__(self, found: Resolved) -> None:
        self.resolution = Resolution.model_validate_json(found.resolution.model_dump_json())


async def test_a_pin_without_its_header_reads_only_that(
    double: Double, endpoint: str, resolver: Resolver, weights: Path
) -> None:
    double.repo(REPO).commit({"m.gguf": weights})
    found = await resolve(resolver, hub())
    fresh = Resolver(endpoint=endpoint, allow_hosts=[f"127.0.0.1:{double.cdn_port}"])
    double.seen.clear()
    for _ in range(2):
        assert await resolve(fresh, hub(), pinned=_AfterARestart(found)) == found
    assert {(seen.place, seen.path.split("/")[1]) for seen in double.seen} == {("hub", "org"), ("store", "repos")}
    assert double.count(place="hub") == 1
    await fresh.aclose()


async def test_a_commit_is_listed_once_whoever_asks(double: Double, resolver: Resolver, weights: Path) -> None:
    """Single flight: many Models of one repository at once, and others later."""
    commit = double.repo(REPO).commit({"m-Q4_K_M.gguf": weights, "m-Q8_0.gguf": weights})
    found = await asyncio.gather(*(resolve(resolver, hub()) for _ in range(50)))
    assert all(each == found[0] for each in found)
    await resolve(resolver, hub(quant="Q8_0"))
    await resolve(resolver, hub(revision=commit))
    assert double.count(f"*/revision/{commit}?blobs=true") == 1
    assert double.count("*/revision/main?expand=sha") == 2
    assert double.count("*/m-Q4_K_M.gguf") == 1


async def test_connections_are_kept(double: Double, resolver: Resolver, weights: Path) -> None:
    for number in range(10):
        double.repo(f"org/m{number}").commit({"m.gguf": weights})
        await resolve(resolver, hub(f"org/m{number}"))
    assert double.count(place="hub") == 30
    assert len({seen.connection for seen in double.asked(place="hub")}) == 1
    assert len({seen.connection for seen in double.asked(place="store")}) <= 2
    assert {seen.headers["host"] for seen in double.asked(place="store")} == {f"127.0.0.1:{double.cdn_port}"}


async def test_at_most_four_requests_at_once(double: Double, resolver: Resolver, weights: Path) -> None:
    for number in range(30):
        double.repo(f"org/m{number}").commit({"m.gguf": weights})
    double.fail("*", Behaviour(delay=0.02), times=None)
    await asyncio.gather(*(resolve(resolver, hub(f"org/m{number}")) for number in range(30)))
    assert double.busiest == 4


async def test_an_endpoint_below_a_path(double: Double, endpoint: str, weights: Path) -> None:
    """A mirror such as https://mirror/hf: all URLs are built below it."""
    double.repo(REPO).commit({"m.gguf": weights})
    resolver = Resolver(endpoint=f"{endpoint}/hf/")
    error = await failure(resolver, hub())
    assert double.seen[0].path == f"/hf/api/models/{REPO}/revision/main"
    assert f"{endpoint}/hf answered HTTP 501" in error.message
    double.unknown.clear()
    await resolver.aclose()


async def test_proxies_of_the_environment_are_ignored(
    double: Double, resolver: Resolver, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    double.repo(REPO).commit({"m.gguf": weights})
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await resolve(resolver, hub())).facts.file == "m.gguf"


async def test_catalog_entries_are_refused_for_now(resolver: Resolver) -> None:
    error = await failure(resolver, Source(hub=HubSource(name="h", model="m")))
    assert (error.code, error.param) == (Code.SOURCE_REFUSED, "source.hub")
    assert "source.huggingFace" in error.message
