"""Every number of the lifecycle, with its default and its reason. Times in seconds, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

from paddock_runtime.lifecycle.pressure import Thresholds


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """The wait after the n-th failure in a row: none for the first `free`, then `first`, doubled, at most `most`."""

    first: float
    most: float
    free: int = 0

    def delay(self, attempts: int) -> float:
        counted = attempts - self.free
        return 0.0 if counted <= 0 else min(self.most, self.first * 2.0 ** min(counted - 1, 60))


@dataclass(frozen=True, kw_only=True)
class Limits:
    # waiting
    queue_per_model: int = 256  # requests that wait for one Model; the next gets 429
    hold_retry_after: float = 5.0  # what a refused client is told to wait when nothing better is known
    retry_hold: float = 30.0  # a request that a crash sent back may wait so long for the reload, if its deadline allows

    # loading
    concurrent_loads: int | None = None  # None: by the cores, see `loads_at_once`
    concurrent_fetches: int = 2  # in the background; what somebody waits for comes on top
    service_seconds: float = 5.0  # one turn of a busy Model against one that waits
    points_per_second: float = 10.0  # priority that a waiting load gains
    max_wait_seconds: float = 30.0  # after that it goes before all younger ones
    start_timeout: float = 30.0  # from exec to the child's first word
    desert_seconds: float = 10.0  # a load goes on so long when nobody waits for it any more
    load_timeout: float = 900.0  # for all of a load
    load_stall: float = 120.0  # without any sign of life from a loading child
    open_timeout: float = 120.0  # for one context
    close_grace: float = 5.0  # from closing a child's socket to SIGKILL
    load_backoff: Backoff = Backoff(first=1.0, most=300.0)
    source_pause: float = 30.0  # a server that asks for more is left alone so long, at most as long as the backoff
    crash_backoff: Backoff = Backoff(first=1.0, most=60.0, free=2)  # who crashes now and then is reloaded at once
    oom_backoff: Backoff = Backoff(first=10.0, most=300.0)
    healthy_seconds: float = 60.0  # served so long without an accident, a Model's crashes are forgotten
    verify_timeout: float = 300.0  # for all checks of a revision

    read_ahead_bytes: int = 16 << 30  # of one load's files, while its child starts
    spare_idle: float = 3600.0  # a spare child that no load asked for so long is ended; 0: none is kept
    spare_bytes: int = 64 << 20  # what one is taken for until it is measured
    spare_pause: float = 60.0  # after memory was short, none is started for so long
    spare_backoff: Backoff = Backoff(first=1.0, most=300.0)

    # watching
    tick: float = 0.5
    stats_timeout: float = 15.0  # without a word from a ready child: hung
    step_timeout: float = 60.0  # busy without finishing a step: hung
    memory_interval: float = 1.0
    over_charge_fraction: float = 0.10  # a child may exceed its charge by the larger of these two
    over_charge_bytes: int = 64 << 20
    pressure: Thresholds = field(default_factory=Thresholds)
    decide_patience: float = 30.0  # without a decision carried out to its end: /livez fails
    watch_patience: float = 60.0  # the same for a look at the children or at memory
    end_patience: float = 120.0  # a killed child that the kernel holds for so long: /livez fails
    busy_linger: float = 0.05  # an engine keeps its threads so long after its last request

    # prompts on disk
    prompt_disk_bytes: int | None = None  # all may take so much; None: the lesser of the next two, 0: none are kept
    prompt_disk_most: int = 4 << 30
    prompt_disk_share: float = 0.10  # of what is free at the start
    prompt_write_seconds: float = 20.0  # an idle prompt is written by then, in half of it if nothing else is to do
    prompt_least_tokens: int = 64  # fewer are computed as fast as read

    # requests
    buffer_bytes: int = 64 << 10  # text not yet taken by its reader; computing pauses at half of it
    stall_seconds: float = 30.0  # a reader that takes nothing for so long loses its request
    strike_entries: int = 10_000
    strike_seconds: float = 600.0
    strikes_to_refuse: int = 2

    # memory of measurements
    learned_entries: int = 1_000

    # after a restart
    return_seconds: float = 300.0  # what was loaded before, and finds room in this time, comes back by itself
    return_patience: float = 5.0  # so long it waits for the files of what is more valuable to be looked at

    def loads_at_once(self, cores: int) -> int:
        """Two, so that a small one need not wait for a large one; on larger machines one for four cores, as a load
        keeps some busy with repacking weights; at most four, for more streams only share the disk."""
        return self.concurrent_loads or min(4, max(2, cores // 4))
