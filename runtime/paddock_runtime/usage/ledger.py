"""The ledger: samples of memory, requests that come and go, in; totals by account, out. Pure: time is told to it.

Each sample holds until the next. All amounts are whole: byte-seconds, microseconds, tokens. A fraction of a byte-second
is carried to the next sample, so that sums never drift and the parts always add up to the total.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from paddock_api.identity import ModelId
from paddock_runtime.usage.division import divide

ELSE = "*"  # stands for the Models and tenants that there were too many of: no name may be this
_SECOND = 1_000_000


class Account(NamedTuple):
    """Who pays. Tenant "" is nobody."""

    model: ModelId
    tenant: str


class Tokens(NamedTuple):
    prompt: int = 0
    cached: int = 0
    completion: int = 0


class Holding(NamedTuple):
    """Memory, and by which weights it is divided; nobody's if there are none."""

    size: int
    shares: Mapping[Account, int]


@dataclass(slots=True)
class Totals:
    memory: int = 0  # byte-seconds
    busy: int = 0  # microseconds
    requests: int = 0
    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def copy(self) -> Totals:
        return Totals(self.memory, self.busy, self.requests, self.prompt, self.cached, self.completion)

    def add(self, other: Totals) -> None:
        self.memory += other.memory
        self.busy += other.busy
        self.requests += other.requests
        self.prompt += other.prompt
        self.cached += other.cached
        self.completion += other.completion


class Books(NamedTuple):
    accounts: dict[Account, Totals]
    total: Totals
    unattributed: Totals


class Ledger:
    """`accounts` bounds the memory of it: beyond, the longest unused of a namespace become its account ELSE. Times are
    integer microseconds of a clock that never goes back."""

    def __init__(self, *, start: int, accounts: int = 20_000) -> None:
        self._most = accounts
        self._accounts: OrderedDict[Account, Totals] = OrderedDict()
        self._holdings: list[Holding] = []
        self._sampled_at = start
        self._carry = 0  # byte-microseconds
        self._working: dict[str, Counter[Account]] = {}  # requests by engine
        self._worked_at: dict[str, int] = {}
        self.total = Totals()
        self.unattributed = Totals()

    # --- memory

    def sample(self, now: int, holdings: Iterable[Holding]) -> None:
        """What is held from `now` on, until the next sample."""
        self._accrue(now)
        self._holdings = [holding for holding in holdings if holding.size > 0]

    def _accrue(self, now: int) -> None:
        elapsed, self._sampled_at = max(0, now - self._sampled_at), max(now, self._sampled_at)
        if not elapsed:
            return
        for holding in self._holdings:
            amount, self._carry = divmod(holding.size * elapsed + self._carry, _SECOND)
            self.total.memory += amount
            shares = {account: weight for account, weight in holding.shares.items() if weight > 0}
            if not shares:
                self.unattributed.memory += amount
                continue
            for account, part in divide(amount, shares).items():
                self._of(account).memory += part

    # --- work

    def begin(self, now: int, engine: str, account: Account) -> None:
        """A request of `account` works in `engine` from now on."""
        self._work(now, engine)
        self._working.setdefault(engine, Counter())[account] += 1

    def end(self, now: int, engine: str, account: Account, tokens: Tokens) -> None:
        """It has left the engine, for whatever reason. Raises KeyError when it did not begin."""
        self._work(now, engine)
        working = self._working[engine]
        if working[account] <= 0:
            raise KeyError(account)
        working[account] -= 1
        if not working[account]:
            del working[account]
        if not working:
            del self._working[engine], self._worked_at[engine]
        done = Totals(requests=1, prompt=tokens.prompt, cached=tokens.cached, completion=tokens.completion)
        self._of(account).add(done)
        self.total.add(done)

    def _work(self, now: int, engine: str) -> None:
        """The engine's time since last looked at, divided among the requests that were in it."""
        before = self._worked_at.get(engine, now)
        self._worked_at[engine] = max(now, before)
        working = self._working.get(engine)
        if not working or now <= before:
            return
        self.total.busy += now - before
        for account, part in divide(now - before, working).items():
            self._of(account).busy += part

    # --- totals

    def settle(self, now: int) -> None:
        """Brings all totals up to `now`."""
        self._accrue(now)
        for engine in list(self._working):
            self._work(now, engine)

    def accounts(self) -> dict[Account, Totals]:
        """What each has used, up to the last call that told a time."""
        return dict(self._accounts)

    def books(self) -> Books:
        """The same as a copy that nobody writes to."""
        return Books({account: totals.copy() for account, totals in self._accounts.items()}, self.total.copy(),
                     self.unattributed.copy())

    def _of(self, account: Account) -> Totals:
        found = self._accounts.get(account)
        if found is None:
            found = self._accounts[account] = Totals()
            self._fold(keep=account)
        self._accounts.move_to_end(account)
        return found

    def _fold(self, *, keep: Account) -> None:
        while len(self._accounts) > self._most:
            oldest = next((each for each in self._accounts if each.tenant != ELSE and each != keep), None)
            if oldest is None:
                return  # one for each namespace, and no more
            rest = Account(ModelId(oldest.model.namespace, ELSE), ELSE)
            self._accounts.setdefault(rest, Totals()).add(self._accounts.pop(oldest))
