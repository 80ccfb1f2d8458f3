"""The books of cells against a model memory that counts every cell, as llama.cpp's unified cache does."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from paddock_runtime.engine.llama.holdings import Holding, Holdings

CAPACITY, IDS = 200, 6


class Cells:
    """Each cell is one position, shared by the sequences in its set."""

    def __init__(self) -> None:
        self.cells: list[tuple[int, set[int]]] = []

    def compute(self, sequence: int, start: int, count: int) -> None:
        self.cells += [(position, {sequence}) for position in range(start, start + count)]

    def copy_sequence(self, source: int, target: int, end: int) -> None:
        for position, owners in self.cells:
            if position < end and source in owners:
                owners.add(target)

    def drop_sequence(self, sequence: int) -> None:
        for _, owners in self.cells:
            owners.discard(sequence)
        self.cells = [cell for cell in self.cells if cell[1]]

    def keeps_window(self, sequence: int, position: int) -> bool:
        return True

    def positions(self, sequence: int) -> list[int]:
        return sorted(position for position, owners in self.cells if sequence in owners)


class Machine(RuleBasedStateMachine):
    live = Bundle("live")

    def __init__(self) -> None:
        super().__init__()
        self.memory = Cells()
        self.holdings = Holdings(self.memory, capacity=CAPACITY, sequences=IDS, anywhere=True)
        self.open: list[Holding] = []

    @rule(target=live, tokens=st.lists(st.integers(0, 1), min_size=9, max_size=40), zeros=st.integers(0, 12))
    def admit(self, tokens: list[int], zeros: int) -> Holding | object:
        tokens = [0] * zeros + tokens
        match = self.holdings.match("s", tokens)
        assert match.ready < len(tokens)
        if match.source is not None:
            assert match.source.tokens[: match.ready] == tokens[: match.ready]
        holding = self.holdings.open("s", tokens, match)
        if holding is None:
            assert len(self.open) == IDS - 1 or match.source is not None
            return multiple()
        self.open.append(holding)
        return holding

    @rule(holding=live, count=st.integers(1, 20))
    def compute(self, holding: Holding, count: int) -> None:
        count = min(count, len(holding.tokens) - holding.computed)
        if holding not in self.open or count <= 0 or not self.holdings.make_room(count):
            return
        self.memory.compute(holding.sequence, holding.computed, count)
        self.holdings.advance(holding, count)

    @rule(holding=live, keep=st.booleans())
    def end(self, holding: Holding, keep: bool) -> None:
        if holding in self.open:
            self.open.remove(holding)
            self.holdings.retire(holding, keep=keep)

    @rule()
    def evict(self) -> None:
        before = self.holdings.idle
        assert self.holdings.evict() == (before > 0)

    @invariant()
    def books_agree(self) -> None:
        assert self.holdings.used + self.holdings.parked == len(self.memory.cells) <= CAPACITY
        for holding in self.open:
            assert self.memory.positions(holding.sequence) == list(range(holding.computed))
        idle = self.holdings.reclaimable()
        mine = {holding.sequence for holding in self.open}
        parked = {IDS - 1}  # the id of what is given back later
        assert idle == sum(1 for _, owners in self.memory.cells if not owners & mine and owners - parked)


TestHoldings = Machine.TestCase
TestHoldings.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def held(holdings: Holdings, memory: Cells, tokens: list[int], computed: int) -> Holding:
    holding = holdings.open("s", tokens, holdings.match("s", tokens))
    assert holding is not None
    count = computed - holding.computed
    memory.compute(holding.sequence, holding.computed, count)
    holdings.advance(holding, count)
    return holding


def test_a_prefix_that_is_being_computed_is_told_from_one_that_is_ready() -> None:
    memory = Cells()
    holdings = Holdings(memory, capacity=CAPACITY, sequences=IDS, anywhere=True)
    holder = held(holdings, memory, list(range(100)), 30)
    match = holdings.match("s", [*range(80), 999, 998])
    assert (match.ready, match.coming, match.holder) == (30, 80, holder)


def test_recurrent_states_are_taken_only_where_they_end() -> None:
    memory = Cells()
    holdings = Holdings(memory, capacity=CAPACITY, sequences=IDS, anywhere=False)
    holder = held(holdings, memory, list(range(50)), 50)
    assert holdings.match("s", [*range(40), 999]).ready == 0
    assert holdings.match("s", [*range(50), 999]).ready == 50
    holdings.checkpoint(holder)
    holdings.retire(holder, keep=False)
    assert holdings.match("s", [*range(50), 999]).ready == 50


def test_the_least_recently_used_goes_first() -> None:
    memory = Cells()
    holdings = Holdings(memory, capacity=CAPACITY, sequences=IDS, anywhere=True)
    first = held(holdings, memory, [1] * 20, 20)
    second = held(holdings, memory, [2] * 20, 20)
    holdings.retire(first, keep=True)
    holdings.retire(second, keep=True)
    user = held(holdings, memory, [1] * 15 + [3] * 10, 25)
    assert holdings.evict()
    assert holdings.match("s", [2] * 21).ready == 0
    assert holdings.match("s", [1] * 21).ready == 20
    assert user.live
