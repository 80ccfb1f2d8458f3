"""Fault 7 and a hub's refusals, as the operator meets them: the kind of the error, its words, when to ask again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_operator.hub import Budgets, Connector
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
from paddock_operator.resolve import Credential, Resolver
from tests.hub import Behaviour, Double
from tests.integration.operator_resolve.conftest import ALICE, BOB
from tests.integration.operator_resolve.kit import REPO, failure, hub, resolve

API, FILES, STORE = "/api/models/*", "/*/resolve/*", "/repos/*"
IN_TIME = 30.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def patient(double: Double, endpoint: str, clock: Clock) -> AsyncIterator[Resolver]:
    """With a clock that tests move. A machine that is busy with other things is no hub that does not answer."""
    resolver = Resolver(endpoint=endpoint, allow_hosts=[f"127.0.0.1:{double.cdn_port}"], deadline=IN_TIME,
                        budgets=Budgets(clock=clock), connector=Connector(step_seconds=IN_TIME))
    yield resolver
    await resolver.aclose()


@pytest.fixture
async def quick(double: Double, endpoint: str) -> AsyncIterator[Resolver]:
    """With a deadline that tests can wait for; on a busy machine any answer at all may come after it."""
    resolver = Resolver(endpoint=endpoint, allow_hosts=[f"127.0.0.1:{double.cdn_port}"], deadline=0.5,
                        connector=Connector(step_seconds=0.4))
    yield resolver
    await resolver.aclose()


def credential(token: str, endpoint: str | None = None) -> dict[str, Credential]:
    return {"mine": Credential(token, endpoint)}


async def test_the_kinds_of_refusals(double: Double, resolver: Resolver, weights: Path) -> None:
    double.repo(REPO).commit({"m-Q8_0.gguf": weights})
    double.repo("org/disabled").commit({"m.gguf": weights})
    double.repos["org/disabled"].disabled = True
    double.repo("org/private").commit({"m.gguf": weights})
    double.repos["org/private"].private = True
    double.repo("org/gated").commit({"m.gguf": weights})
    double.repos["org/gated"].gated = "manual"
    double.repo("org/old").renamed_to = "org/new"
    for name, kind, code, says in (
        ("org/none", RepoNotFound, Code.SOURCE_NOT_FOUND, "has no repository org/none, or it is private"),
        ("org/private", RepoNotFound, Code.SOURCE_NOT_FOUND, "source.huggingFace.credential"),
        ("org/gated", Gated, Code.SOURCE_REFUSED, "ask for access at http"),
        ("org/disabled", Disabled, Code.SOURCE_REFUSED, "was disabled"),
        ("org/old", RepoRenamed, Code.SOURCE_NOT_FOUND, "org/old is called org/new now: write that name"),
    ):
        error = await failure(resolver, hub(name))
        assert type(error) is kind
        assert (error.code, error.param) == (code, "source.huggingFace.repo")
        assert says in error.message
    error = await failure(resolver, hub(revision="none"))
    assert type(error) is RevisionNotFound
    assert "no revision 'none'" in error.message
    error = await failure(resolver, hub(revision="0" * 40))
    assert type(error) is RevisionNotFound
    error = await failure(resolver, hub(quant="Q4_K_M"))
    assert error.message == f"{REPO} has no file of the quant 'Q4_K_M'; it has Q8_0"
    error = await failure(resolver, hub(file="m-Q8_1.gguf"))
    assert "did you mean 'm-Q8_0.gguf'" in error.message


async def test_a_file_that_vanished_after_it_was_listed(double: Double, resolver: Resolver, weights: Path) -> None:
    double.repo(REPO).commit({"m.gguf": weights})
    double.fail(FILES, Behaviour(status=404, headers={"X-Error-Code": "EntryNotFound"}))
    error = await failure(resolver, hub())
    assert type(error) is EntryNotFound
    assert "no file 'm.gguf'" in error.message


async def test_gated_and_private_repositories_by_credential(double: Double, resolver: Resolver, weights: Path) -> None:
    for name in ("org/gated", "org/private"):
        double.repo(name).commit({"m.gguf": weights})
        double.repos[name].granted = {"alice"}
    double.repos["org/gated"].gated = "auto"
    double.repos["org/private"].private = True
    for name in ("org/gated", "org/private"):
        found = await resolve(resolver, hub(name, credential="mine"), credentials=credential(f"{ALICE}\n"))
        assert found.facts.architecture == "llama"
    # What one token was shown is kept from others, also in what is remembered.
    error = await failure(resolver, hub("org/gated", credential="mine"), credentials=credential(BOB))
    assert type(error) is Gated
    assert "with the account of the credential's token" in error.message
    assert type(await failure(resolver, hub("org/gated"))) is Gated
    error = await failure(resolver, hub("org/private", credential="mine"), credentials=credential(BOB))
    assert type(error) is RepoNotFound
    assert "can't see it" in error.message
    assert type(await failure(resolver, hub("org/private"))) is RepoNotFound
    error = await failure(resolver, hub("org/private", credential="mine"), credentials=credential("hf_wrong"))
    assert type(error) is BadToken
    assert error.param == "source.huggingFace.credential"


async def test_a_credential_names_its_own_hub(double: Double, endpoint: str, weights: Path) -> None:
    double.repo(REPO).commit({"m.gguf": weights})
    resolver = Resolver(endpoint="http://127.0.0.1:9", allow_hosts=[endpoint.removeprefix("http://"),
                                                                   f"127.0.0.1:{double.cdn_port}"])
    found = await resolve(resolver, hub(credential="mine"), credentials=credential(ALICE, endpoint))
    assert found.resolution.files[0].startswith(f"{endpoint}/{REPO}/resolve/")
    assert {seen.headers["authorization"] for seen in double.asked(place="hub")} == {f"Bearer {ALICE}"}
    await resolver.aclose()


@pytest.mark.parametrize(("given", "says"), [
    ({}, "the credential 'mine' can't be read: see the pool's spec.credentials"),
    ({"mine": Credential("CANARY one")}, "characters that no token has"),
    ({"mine": Credential("CANARY", "http://hub.example")}, "would be sent without TLS to hub.example"),
    ({"mine": Credential("CANARY", "https://u:CANARY@hub.example")}, "carries a user name or password"),
    ({"mine": Credential("CANARY", "https://127.0.0.1:9")}, "not on the public Internet"),
])
async def test_credentials_that_can_not_be_used(given: dict[str, Credential], says: str) -> None:
    resolver = Resolver()
    error = await failure(resolver, hub(credential="mine"), credentials=given)
    assert error.code == Code.SOURCE_REFUSED
    assert says in error.message
    assert "CANARY" not in error.message
    await resolver.aclose()


async def test_a_quota_that_is_used_up_is_left_alone_by_all(
    double: Double, patient: Resolver, weights: Path, clock: Clock
) -> None:
    for number in range(20):
        double.repo(f"org/m{number}").commit({"m.gguf": weights})
    double.fail(API, Behaviour(status=429, headers={"RateLimit": '"api";r=0;t=55', "Retry-After": "7"}))
    first = await failure(patient, hub("org/m0"))
    assert type(first) is RateLimited
    assert (first.code, first.retry_after) == (Code.SOURCE_UNAVAILABLE, 56.0)
    others = [await failure(patient, hub(f"org/m{number}")) for number in range(20)]
    assert double.count() == 1, "nobody asks a hub that said it has enough"
    assert {(type(error), error.retry_after) for error in others} == {(RateLimited, 56.0)}
    clock.now += 55.9
    assert type(await failure(patient, hub("org/m1"))) is RateLimited
    clock.now += 0.1
    assert (await resolve(patient, hub("org/m1"))).facts.file == "m.gguf"


async def test_the_last_request_of_a_quota_is_noticed_before_the_refusal(
    double: Double, patient: Resolver, weights: Path
) -> None:
    double.repo(REPO).commit({"m.gguf": weights})
    double.quota.limits["api"] = 2
    await resolve(patient, hub())
    assert type(await failure(patient, hub(revision="other"))) is RateLimited
    assert double.count("/api/*") == 2
    assert 429 not in {seen.status for seen in double.seen}


async def test_many_at_once_meet_one_limit(double: Double, patient: Resolver, weights: Path) -> None:
    for number in range(40):
        double.repo(f"org/m{number}").commit({"m.gguf": weights})
    double.fail("*", Behaviour(delay=0.02), times=3)
    double.fail("*", Behaviour(status=429, headers={"Retry-After": "30"}), times=None)
    outcomes = await asyncio.gather(*(failure(patient, hub(f"org/m{number}")) for number in range(40)))
    assert {type(outcome) for outcome in outcomes} == {RateLimited}
    assert double.count() <= 8, "those under way when the limit came, and no more"


@pytest.mark.parametrize(("pattern", "behaviour", "says"), [
    (API, Behaviour(status=500), "has trouble (HTTP 500)"),
    (API, Behaviour(status=502, body=b"<html>"), "has trouble (HTTP 502)"),
    (API, Behaviour(cut=0), "was cut"),
    (API, Behaviour(cut=10), "was cut"),
    (API, Behaviour(status=200, body=b"<html>"), "that is not a hub's answer"),
    (API, Behaviour(status=200, body=b'{"sha": "main"}'), "that is not a hub's answer"),
    (API, Behaviour(headers={"Content-Encoding": "gzip"}), "that is not a hub's answer"),
    (FILES, Behaviour(status=503), "has trouble (HTTP 503)"),
    (STORE, Behaviour(status=500), "has trouble (HTTP 500)"),
    (STORE, Behaviour(cut=1000), "was cut"),
    (STORE, Behaviour(shift=1), "range that was not asked for"),
    (STORE, Behaviour(headers={"Content-Range": "bytes 0-262143/7"}), "has 7 bytes where it is fetched, but"),
])
async def test_what_may_pass_and_when_to_ask_again(
    double: Double, patient: Resolver, weights: Path, pattern: str, behaviour: Behaviour, says: str
) -> None:
    double.repo(REPO).commit({"m.gguf": weights})
    if "Content-Encoding" in behaviour.headers:
        behaviour = Behaviour(status=200, headers=behaviour.headers, body=b"\x1f\x8b")
    double.fail(pattern, behaviour, times=None)
    check_passing(await failure(patient, hub()), says)
    double.heal()
    assert (await resolve(patient, hub())).facts.file == "m.gguf"


@pytest.mark.parametrize(("pattern", "behaviour", "says"), [
    (API, Behaviour(silent=True), "did not answer"),
    (API, Behaviour(hang=3), "did not answer"),
    (API, Behaviour(drip=0.05), "did not answer within 0.5 s"),
    (FILES, Behaviour(silent=True), "did not answer"),
    (STORE, Behaviour(silent=True), "did not answer"),
    (STORE, Behaviour(hang=1000), "did not answer"),
    (STORE, Behaviour(drip=0.05), "did not answer within 0.5 s"),
])
async def test_who_does_not_answer_is_not_waited_for(
    double: Double, quick: Resolver, weights: Path, pattern: str, behaviour: Behaviour, says: str
) -> None:
    double.repo(REPO).commit({"m.gguf": weights})
    double.fail(pattern, behaviour, times=None)
    async with asyncio.timeout(IN_TIME):
        check_passing(await failure(quick, hub()), says)
        double.heal()
        while True:
            try:
                assert (await resolve(quick, hub())).facts.file == "m.gguf"
                return
            except Unavailable:  # so busy is this machine
                await asyncio.sleep(0.1)


def check_passing(error: PaddockError, says: str) -> None:
    assert isinstance(error, Unavailable), error
    assert error.code == Code.SOURCE_UNAVAILABLE
    assert error.retry_after is not None
    assert 1.0 <= error.retry_after <= 300.0
    assert says in error.message
    assert "Signature" not in error.message


async def test_a_retry_after_of_a_hub_in_trouble_is_passed_on(double: Double, patient: Resolver, weights: Path) -> None:
    double.repo(REPO).commit({"m.gguf": weights})
    double.fail(API, Behaviour(status=503, headers={"Retry-After": "17"}))
    assert (await failure(patient, hub())).retry_after == 17.0


async def test_an_answer_that_was_cut_is_not_asked_for_twice(double: Double, patient: Resolver, weights: Path) -> None:
    double.repo(REPO).commit({"m.gguf": weights})
    double.fail(API, Behaviour(cut=0))
    assert "was cut" in (await failure(patient, hub())).message
    assert double.count() == 1


async def test_a_hub_that_is_not_there(weights: Path) -> None:
    resolver = Resolver(endpoint="http://127.0.0.1:9")
    error = await failure(resolver, hub())
    assert isinstance(error, Unavailable)
    assert "no connection to http://127.0.0.1:9" in error.message
    await resolver.aclose()


async def test_a_host_without_an_address() -> None:
    async def nowhere(host: str, port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    resolver = Resolver(connector=Connector(lookup=nowhere))
    error = await failure(resolver, hub())
    assert isinstance(error, Unavailable)
    assert "can't be found or reached: Name or service not known" in error.message
    await resolver.aclose()


async def test_a_hub_away_does_not_touch_the_pin(double: Double, patient: Resolver, weights: Path) -> None:
    double.repo(REPO).commit({"m.gguf": weights})
    pinned = await resolve(patient, hub())
    double.fail("*", Behaviour(status=503), times=None)
    assert await resolve(patient, hub(), pinned=pinned) == pinned
    error = await failure(patient, hub(), pinned=pinned, follow=True)
    assert error.code == Code.SOURCE_UNAVAILABLE


async def test_a_deleted_repository_does_not_touch_the_pin_of_who_follows(
    double: Double, patient: Resolver, weights: Path
) -> None:
    double.repo(REPO).commit({"m.gguf": weights})
    pinned = await resolve(patient, hub())
    del double.repos[REPO]
    assert type(await failure(patient, hub(), pinned=pinned, follow=True)) is RepoNotFound
    assert await resolve(patient, hub(), pinned=pinned) == pinned


async def test_a_list_of_files_beyond_any_use_is_refused(double: Double, patient: Resolver) -> None:
    double.repo(REPO).commit({"m.gguf": b"GGUF"})
    commit = double.repos[REPO].branches["main"]
    double.fail(f"*/revision/{commit}", Behaviour(status=200, body=b" " * (17 << 20)))
    error = await failure(patient, hub())
    assert isinstance(error, HubError)
    assert "more than 16 MiB" in error.message
    double.fail(f"*/revision/{commit}", Behaviour(status=200, body=b"[" * 1_000_000))
    assert isinstance(await failure(patient, hub()), Unavailable)


async def test_who_asks_together_gets_the_same_error(double: Double, patient: Resolver, weights: Path) -> None:
    double.repo(REPO).commit({"m.gguf": weights})
    double.fail(API, Behaviour(status=500, delay=0.05))
    outcomes = await asyncio.gather(*(failure(patient, hub()) for _ in range(20)))
    assert double.count() == 1
    assert {type(outcome) for outcome in outcomes} == {Unavailable}


async def test_who_leaves_does_not_end_what_others_wait_for(double: Double, resolver: Resolver, weights: Path) -> None:
    double.repo(REPO).commit({"m.gguf": weights})
    double.fail("*", Behaviour(delay=0.2))
    tasks = [asyncio.create_task(resolve(resolver, hub())) for _ in range(3)]
    await asyncio.sleep(0.05)
    tasks[0].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert not isinstance(found[1], BaseException)
    assert found[1] == found[2]
    assert double.count("*expand=sha") == 1


@pytest.mark.parametrize("endpoint", ["ftp://hub", "https://user:CANARY@hub", "hub", ""])
def test_an_endpoint_that_can_not_be_is_refused_at_the_start(endpoint: str) -> None:
    with pytest.raises(PaddockError) as caught:
        Resolver(endpoint=endpoint)
    assert caught.value.param == "PADDOCK_HF_ENDPOINT"
    assert "CANARY" not in caught.value.message
