"""When sources are asked, with a resolver that counts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_api.model import ModelSpec
from paddock_api.revision import Resolution, Revision, revision_of
from paddock_api.source import Source
from paddock_api.status import ModelFacts
from paddock_operator.model.sources import Ask, Question, Sources, ask
from paddock_operator.queue import Backoff
from paddock_operator.store import Key

KEY = Key("n", "m")


@dataclass
class Found:
    resolution: Resolution
    facts: ModelFacts
    header: None = None


@dataclass
class Hub:
    """Answers with the commit of now, or fails."""

    commit: str = "c1"
    fails: PaddockError | None = None
    asked: list[tuple[str | None, bool]] = field(default_factory=list)
    slow: float = 0.0

    async def resolve(self, source: Source, *, pinned: Any, follow: bool, credentials: Mapping[str, Any]) -> Found:
        self.asked.append((pinned.resolution.commit if pinned is not None else None, follow))
        await asyncio.sleep(self.slow)
        if self.fails is not None:
            raise self.fails
        return Found(Resolution(sha256="a" * 64, commit=self.commit), ModelFacts(commit=self.commit))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def spec(repo: str = "o/r", policy: str = "Pin", **engine: Any) -> ModelSpec:
    return ModelSpec.model_validate({"source": {"huggingFace": {"repo": repo}}, "updatePolicy": policy,
                                     "engine": engine})


def question(given: ModelSpec, current: Revision | None = None, **more: Any) -> Question:
    return Question(**{"model": KEY, "spec": given, "current": current, "requested": None, "scope": "pool",
                       "credentials": nothing, **more})


async def nothing() -> Mapping[str, Any]:
    return {}


def sources(hub: Hub, clock: Clock) -> Sources:
    return Sources(hub, follow=600.0, clock=clock, backoff=Backoff(base=5.0, most=300.0))


def pinned(given: ModelSpec, commit: str = "c1") -> Revision:
    return revision_of(given, Resolution(sha256="a" * 64, commit=commit))


async def test_a_pinned_source_is_asked_once_for_all() -> None:
    hub, clock = Hub(), Clock()
    found = sources(hub, clock)
    first = await found.answer(question(spec()))
    assert first.resolution.commit == "c1"
    hub.commit = "c2"
    for _ in range(5):
        clock.now += 10_000
        later = await found.answer(question(spec(), pinned(spec())))
        assert (later.resolution.commit, later.facts, later.again) == ("c1", None, None)
    assert hub.asked == [(None, False)]


async def test_credentials_are_read_only_to_ask_and_a_missing_one_is_no_lost_pin() -> None:
    hub, clock, read = Hub(), Clock(), list[str]()
    found = sources(hub, clock)

    async def secret() -> Mapping[str, Any]:
        read.append("read")
        raise PaddockError(Code.SOURCE_UNAVAILABLE, "the Secret does not exist; create it", retry_after=60.0)

    for _ in range(3):
        answer = await found.answer(question(spec(), pinned(spec()), credentials=secret))
        assert answer.resolution.commit == "c1"
    assert not read, "a pass over a resolved Model reads no Secret"
    with pytest.raises(PaddockError) as caught:
        await found.answer(question(spec("o/other"), pinned(spec()), credentials=secret))
    assert caught.value.retry_after == 60.0
    with pytest.raises(PaddockError):
        await found.answer(question(spec("o/other"), pinned(spec()), credentials=secret))
    assert read == ["read"], "and one that is missing not at each pass"
    assert not hub.asked
    clock.now += 61.0
    answer = await found.answer(question(spec("o/other"), pinned(spec())))
    assert answer.resolution.commit == "c1"


async def test_another_source_is_asked_anew() -> None:
    hub = Hub()
    found = sources(hub, Clock())
    await found.answer(question(spec("o/other"), pinned(spec())))
    assert hub.asked == [(None, False)]


async def test_following_asks_from_the_pin_on_every_so_often() -> None:
    hub, clock = Hub(commit="c2"), Clock()
    found = sources(hub, clock)
    follows = spec(policy="Follow")
    before = await found.answer(question(follows, pinned(follows)))
    assert before.again is not None
    assert 0 < before.again <= 600  # a new leader does not ask for all at once
    clock.now += before.again + 1.0
    after = await found.answer(question(follows, pinned(follows)))
    assert after.resolution.commit == "c2"
    assert after.again == pytest.approx(600.0)
    assert hub.asked == [("c1", True)]


async def test_many_that_ask_the_same_at_once_get_one_answer() -> None:
    hub = Hub(slow=0.05)
    found = sources(hub, Clock())
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(found.answer(question(spec(), model=Key("n", f"m{number}"))))
                 for number in range(20)]
    assert {each.result().resolution.commit for each in asked} == {"c1"}
    assert len(hub.asked) == 1
    await found.answer(question(spec(), scope="another pool"))
    assert len(hub.asked) == 2  # what one may see is not shown to another


async def test_a_passing_failure_is_tried_again_when_it_says_and_later_and_later() -> None:
    hub, clock = Hub(fails=PaddockError(Code.SOURCE_UNAVAILABLE, "429", retry_after=77.0)), Clock()
    found = sources(hub, clock)
    with pytest.raises(PaddockError) as caught:
        await found.answer(question(spec()))
    assert caught.value.retry_after == 77.0
    clock.now += 70.0
    with pytest.raises(PaddockError) as caught:
        await found.answer(question(spec()))
    assert caught.value.retry_after == pytest.approx(7.0)
    assert len(hub.asked) == 1
    clock.now += 8.0
    hub.fails = PaddockError(Code.SOURCE_UNAVAILABLE, "500")
    waits = []
    for _ in range(8):
        with pytest.raises(PaddockError) as caught:
            await found.answer(question(spec()))
        assert caught.value.retry_after is not None
        waits.append(caught.value.retry_after)
        clock.now += caught.value.retry_after
    assert waits[-1] > 100 > waits[0]
    hub.fails = None
    assert (await found.answer(question(spec()))).resolution.commit == "c1"


@pytest.mark.parametrize("code", [Code.SOURCE_NOT_FOUND, Code.SOURCE_REFUSED, Code.INVALID_MODEL_FILE])
async def test_a_lasting_failure_lasts_until_the_source_changes_or_somebody_asks(code: Code) -> None:
    hub, clock = Hub(fails=PaddockError(code, "gone")), Clock()
    found = sources(hub, clock)
    for _ in range(3):
        with pytest.raises(PaddockError, match="gone") as caught:
            await found.answer(question(spec()))
        assert caught.value.retry_after is None
        clock.now += 100_000
    assert len(hub.asked) == 1
    hub.fails = None
    await found.answer(question(spec(), requested="now"))
    assert len(hub.asked) == 2


async def test_a_hub_that_is_away_takes_no_pin_away() -> None:
    hub, clock = Hub(fails=PaddockError(Code.SOURCE_UNAVAILABLE, "away", retry_after=30.0)), Clock()
    found = sources(hub, clock)
    changed = spec(contextLength=4096)
    answer = await found.answer(question(changed, pinned(spec())))
    assert (answer.resolution.commit, answer.again) == ("c1", 30.0)
    gone = Hub(fails=PaddockError(Code.SOURCE_NOT_FOUND, "deleted"))
    follows = spec(policy="Follow")
    moving = sources(gone, clock)
    with pytest.raises(PaddockError, match="deleted"):
        await moving.answer(question(follows, pinned(follows), requested="now"))


@pytest.mark.parametrize(("change", "has_header", "due", "wanted"), [
    ({}, False, False, Ask.NO), ({}, False, True, Ask.NO),
    ({"current": None}, True, False, Ask.ANEW), ({"spec": spec("o/x")}, True, False, Ask.ANEW),
    ({"spec": spec(policy="Follow")}, True, True, Ask.AGAIN), ({"spec": spec(policy="Follow")}, True, False, Ask.NO),
    ({"spec": spec(contextLength=1)}, False, False, Ask.AGAIN), ({"spec": spec(contextLength=1)}, True, False, Ask.NO),
    ({"requested": "x"}, True, False, Ask.AGAIN),
])
def test_when_to_ask(change: dict[str, Any], has_header: bool, due: bool, wanted: Ask) -> None:
    asked = replace(question(spec(), pinned(spec())), **change)
    assert ask(asked, has_header=has_header, follow_due=due) is wanted
