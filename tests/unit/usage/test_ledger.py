"""The ledger: whatever happens in whatever order, the parts add up to the total, and the total is right."""

from __future__ import annotations

from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_api.identity import ModelId
from paddock_runtime.usage.division import divide
from paddock_runtime.usage.ledger import ELSE, Account, Holding, Ledger, Tokens, Totals

SECOND = 1_000_000
A, B = Account(ModelId("n", "a"), "x"), Account(ModelId("n", "b"), "y")


@given(st.integers(0, 10**15), st.dictionaries(st.text(max_size=3), st.integers(0, 10**9), min_size=1))
def test_nothing_is_lost_in_a_division_and_nobody_is_off_by_a_unit(amount: int, weights: dict[str, int]) -> None:
    total = sum(weights.values())
    if total == 0:
        with pytest.raises(ValueError, match="positive weight"):
            divide(amount, weights)
        return
    parts = divide(amount, weights)
    assert sum(parts.values()) == amount
    assert all(abs(part * total - amount * weights[key]) < total for key, part in parts.items())


def test_memory_is_held_until_the_next_sample_and_divided_by_weight() -> None:
    ledger = Ledger(start=0)
    ledger.sample(0, [Holding(300, {A: 2, B: 1}), Holding(50, {})])
    ledger.sample(2 * SECOND, [Holding(100, {B: 1})])
    ledger.settle(5 * SECOND)
    accounts = ledger.accounts()
    assert accounts[A].memory == 400
    assert accounts[B].memory == 200 + 300
    assert ledger.unattributed.memory == 100
    assert ledger.total.memory == 1000


def test_an_engine_s_time_is_divided_among_the_requests_in_it() -> None:
    ledger = Ledger(start=0)
    ledger.begin(0, "e", A)
    ledger.begin(10, "e", B)
    ledger.begin(10, "e", B)
    ledger.end(40, "e", A, Tokens(5, 3, 7))
    ledger.end(60, "e", B, Tokens())
    ledger.end(60, "e", B, Tokens(1))
    ledger.begin(1000, "e", A)
    ledger.settle(1004)
    accounts = ledger.accounts()
    assert accounts[A] == Totals(busy=10 + 10 + 4, requests=1, prompt=5, cached=3, completion=7)
    assert accounts[B] == Totals(busy=20 + 20, requests=2, prompt=1)
    assert ledger.total.busy == 64
    with pytest.raises(KeyError):
        ledger.end(2000, "e", B, Tokens())


def test_two_engines_work_at_the_same_time() -> None:
    ledger = Ledger(start=0)
    ledger.begin(0, "e", A)
    ledger.begin(0, "f", A)
    ledger.settle(30)
    assert ledger.total.busy == ledger.accounts()[A].busy == 60


def test_too_many_accounts_become_one_of_their_namespace_and_nothing_is_lost() -> None:
    ledger = Ledger(start=0, accounts=3)
    for number in range(10):
        account = Account(ModelId("n" if number % 2 else "m", "a"), f"t{number}")
        ledger.begin(number, "e", account)
        ledger.end(number, "e", account, Tokens(prompt=1))
    accounts = ledger.accounts()
    assert len(accounts) == 3
    assert sum(each.requests for each in accounts.values()) == 10 == ledger.total.requests
    assert {account.model.namespace for account in accounts if account.tenant == ELSE} == {"n", "m"}


accounts = st.builds(Account, st.builds(ModelId, st.sampled_from(["n", "m"]), st.sampled_from(["a", "b", "c"])),
                     st.sampled_from(["", "x", "y"]))
shares = st.dictionaries(accounts, st.integers(0, 5), max_size=4)
holdings = st.lists(st.builds(Holding, st.integers(0, 10**11), shares), max_size=4)
steps = st.lists(st.tuples(st.integers(0, 10**8), st.one_of(
    st.tuples(st.just("sample"), holdings),
    st.tuples(st.just("begin"), st.sampled_from(["e", "f"]), accounts),
    st.tuples(st.just("end"), st.integers(0, 9), st.builds(Tokens, *[st.integers(0, 5000)] * 3)),
    st.tuples(st.just("settle")))), max_size=40)


@given(steps, st.sampled_from([1, 3, 1000]))
def test_parts_add_up_to_the_total_under_any_interleaving(steps: list[tuple[int, tuple]], most: int) -> None:  # type: ignore[type-arg]
    ledger, now = Ledger(start=0, accounts=most), 0
    held = exact = busy = ended = 0
    tokens = [0, 0, 0]
    inside: list[tuple[str, Account]] = []
    for elapsed, (what, *given_) in steps:
        now += elapsed
        exact += held * elapsed
        busy += elapsed * len({engine for engine, _ in inside})
        if what == "sample":
            held = sum(holding.size for holding in given_[0])
            ledger.sample(now, given_[0])
        elif what == "begin":
            inside.append((given_[0], given_[1]))
            ledger.begin(now, *inside[-1])
        elif what == "end" and inside:
            engine, account = inside.pop(given_[0] % len(inside))
            ledger.end(now, engine, account, given_[1])
            ended += 1
            tokens = [before + more for before, more in zip(tokens, given_[1], strict=True)]
        elif what == "settle":
            ledger.settle(now)
    ledger.settle(now)
    summed = Totals()
    for part in [*ledger.accounts().values(), ledger.unattributed]:
        summed.add(part)
    assert summed == ledger.total
    assert astuple(ledger.total) == (exact // SECOND, busy, ended, *tokens)
