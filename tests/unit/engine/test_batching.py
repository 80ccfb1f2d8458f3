"""The plan of a step: bounds always, order by need."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paddock_runtime.engine.llama.batching import Pending, plan
from paddock_runtime.engine.llama.encoder import take
from paddock_runtime.engine.llama.pace import SMALLEST, TILE, Pace

PENDING = st.lists(
    st.builds(Pending, tokens=st.integers(1, 2000), stop=st.none() | st.integers(1, 500)), min_size=1, max_size=20)


@given(pending=PENDING, budget=st.integers(32, 512), cells=st.integers(0, 1000))
def test_a_plan_stays_inside_every_bound(pending: list[Pending], budget: int, cells: int) -> None:
    counts = plan(pending, prompt_budget=budget, step_limit=512, cells=cells)
    generating = sum(1 for each in pending if each.tokens == 1)
    if counts is None:
        assert cells < max(1, generating)
        return
    assert sum(counts) <= min(512, cells)
    assert sum(count for count, each in zip(counts, pending, strict=True) if each.tokens > 1) <= budget
    for count, each in zip(counts, pending, strict=True):
        assert count <= each.tokens
        if each.tokens == 1:
            assert count == 1
        elif each.stop is not None:
            assert count <= each.stop
    assert sum(counts) > 0


def test_a_short_prompt_does_not_wait_for_a_long_one_and_the_long_one_goes_on() -> None:
    counts = plan([Pending(5000), Pending(40), Pending(1)], prompt_budget=128, step_limit=512, cells=10_000)
    assert counts == [88, 40, 1]


def test_the_oldest_prompt_moves_however_many_short_ones_come() -> None:
    counts = plan([Pending(5000), *[Pending(100)] * 10], prompt_budget=128, step_limit=512, cells=10_000)
    assert counts is not None
    assert counts[0] == 32


def test_a_crumb_that_ends_no_prompt_is_not_computed() -> None:
    assert plan([Pending(20)] * 10, prompt_budget=192, step_limit=512, cells=10_000) == [20] * 9 + [0]
    assert plan([Pending(20)] * 10, prompt_budget=175, step_limit=512, cells=10_000) == [20] * 8 + [0, 0]
    assert plan([Pending(20)] * 9 + [Pending(12)], prompt_budget=192, step_limit=512, cells=10_000) == [20] * 9 + [12]


def test_a_stop_is_reached_in_equal_steps() -> None:
    assert [plan([Pending(tokens + 20, stop=tokens)], prompt_budget=56, step_limit=512, cells=1000)
            for tokens in (340, 291, 57, 49, 4)] == [[49], [49], [29], [49], [4]]


def test_the_chunk_follows_the_speed_of_the_machine() -> None:
    slow, fast = Pace(most=512), Pace(most=512)
    for _ in range(20):
        for pace, speed in ((slow, 100), (fast, 100_000)):
            tokens = pace.chunk(generating=0)
            pace.observe(prompt_tokens=tokens, seconds=tokens / speed)
    assert slow.chunk(generating=3) == SMALLEST
    assert fast.chunk(generating=0) == 512


def test_what_generating_sequences_cost_does_not_shrink_the_prompts_share() -> None:
    pace = Pace(most=512)
    for _ in range(20):
        pace.observe(prompt_tokens=0, seconds=0.12, generating=16)
        tokens = pace.chunk(generating=16)
        pace.observe(prompt_tokens=tokens, seconds=0.12 + tokens / 640, generating=16)
    assert pace.chunk(generating=16) == 2 * TILE - 16  # about 150 ms of prompts at 640 tokens a second, in whole tiles
    assert pace.chunk(generating=0) == 4 * TILE  # 350 ms, when no stream waits for the step
    assert pace.chunk(generating=3) == 2 * TILE - 3  # about 200 ms with theirs


def test_small_steps_say_nothing_about_the_speed() -> None:
    pace = Pace(most=512)
    before = pace.chunk(generating=0)
    pace.observe(prompt_tokens=3, seconds=1.0)
    assert pace.chunk(generating=0) == before


@given(lengths=st.lists(st.integers(1, 600), min_size=1, max_size=30), budget=st.integers(32, 512))
def test_an_embedding_batch_has_at_least_one_input_and_fits(lengths: list[int], budget: int) -> None:
    count = take(lengths, budget=budget, sequences=8, step_limit=512)
    assert 1 <= count <= 8
    assert count == 1 or sum(lengths[:count]) <= budget


def test_it_takes_the_kind_of_step_that_is_faster_and_notices_when_that_changes() -> None:
    """Below TILE tokens and from there on attention works differently: cells that lie scattered cost the latter."""
    pace, kinds = Pace(most=512), list[str]()

    def steps(count: int, *, small: float, large: float) -> None:
        for _ in range(count):
            tokens = pace.chunk(generating=3)
            kinds.append("small" if tokens + 3 < TILE else "large")
            speed = small if kinds[-1] == "small" else large
            pace.observe(prompt_tokens=tokens, generating=3, seconds=tokens / speed)

    steps(100, small=450, large=250)
    assert kinds[-100:].count("small") >= 85
    steps(100, small=350, large=650)
    assert kinds[-60:].count("large") >= 50
