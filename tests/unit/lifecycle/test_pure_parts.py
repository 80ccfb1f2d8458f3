"""Strikes, backoff, failures, cores, quotas, words: the parts of the lifecycle that only compute."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_api.errors import Code, PaddockError
from paddock_runtime.lifecycle.ends import crash_error, engine_code, exit_words
from paddock_runtime.lifecycle.failure import failed
from paddock_runtime.lifecycle.limits import Backoff, Limits
from paddock_runtime.lifecycle.strikes import Strikes
from paddock_runtime.lifecycle.threads import divide
from paddock_runtime.system.clock import Clock
from paddock_runtime.system.cores import cpu_quota, usable_cores
from paddock_runtime.system.memory import Meter, pss_bytes

LIMITS = Limits()


def test_strikes_add_up_expire_and_are_forgiven() -> None:
    strikes = Strikes(entries=10, seconds=60)
    assert [strikes.strike("a", 0.0), strikes.strike("a", 1.0)] == [1, 2]
    assert strikes.count("b", 1.0) == 0
    assert strikes.count("a", 61.0) == 2
    assert strikes.count("a", 61.1) == 0
    strikes.strike("a", 70.0)
    strikes.forgive("a")
    assert strikes.count("a", 70.0) == 0


def test_strikes_are_bounded_and_forget_the_oldest() -> None:
    strikes = Strikes(entries=3, seconds=60)
    for number in range(1000):
        strikes.strike("again", float(number))
        strikes.strike(f"f{number}", float(number))
    assert len(strikes) == 3
    assert strikes.count("again", 999.0) > 2
    assert strikes.count("f0", 999.0) == 0


def test_backoff_doubles_to_its_most_and_may_begin_free() -> None:
    assert [Backoff(first=10, most=300).delay(n) for n in range(1, 8)] == [10, 20, 40, 80, 160, 300, 300]
    assert [Backoff(first=1, most=60, free=2).delay(n) for n in range(1, 6)] == [0, 0, 1, 2, 4]
    assert Backoff(first=1, most=60).delay(10_000) == 60


def test_passing_failures_count_up_and_name_the_next_attempt() -> None:
    oom = PaddockError(Code.ENGINE_OOM, "too much")
    first = failed(oom, before=None, limits=LIMITS, now=100.0)
    second = failed(oom, before=first, limits=LIMITS, now=200.0)
    assert (first.retry_at, second.retry_at, second.attempts) == (110.0, 220.0, 2)
    assert first.blocks(109.9)
    assert not first.blocks(110.0)
    error = second.error(205.0)
    assert error.retry_after == 15.0
    assert "too much (2 times in a row); it is tried again in 15 s" in error.message


@pytest.mark.parametrize(("asked", "delay"), [(None, 1.0), (30.0, 1.0), (240.0, 240.0), (86_400.0, 300.0)])
def test_a_server_that_wants_to_be_left_alone_for_long_is(asked: float | None, delay: float) -> None:
    busy = PaddockError(Code.SOURCE_UNAVAILABLE, "HTTP 429", retry_after=asked)
    failure = failed(busy, before=None, limits=LIMITS, now=100.0)
    assert failure.retry_at == 100.0 + delay
    assert failure.holds


def test_permanent_failures_wait_for_a_change_and_say_no_time() -> None:
    invalid = PaddockError(Code.INVALID_MODEL_FILE, "no GGUF", param="source")
    failure = failed(invalid, before=None, limits=LIMITS, now=1.0)
    assert failure.permanent
    assert failure.blocks(1e12)
    assert not failure.holds
    error = failure.error(5.0)
    assert (error.code, error.message, error.param, error.retry_after) == (
        Code.INVALID_MODEL_FILE, "no GGUF", "source", None)


@pytest.mark.parametrize(("code", "holds"), [
    (Code.ENGINE_CRASHED, True), (Code.SOURCE_UNAVAILABLE, True), (Code.ENGINE_OOM, False), (Code.LOAD_FAILED, False),
    (Code.SOURCE_NOT_FOUND, False), (Code.DISK_FULL, False)])
def test_clients_wait_out_what_tends_to_pass(code: Code, holds: bool) -> None:
    assert failed(PaddockError(code, "x"), before=None, limits=LIMITS, now=0.0).holds is holds


@given(cores=st.integers(1, 256), busy=st.sets(st.text("abcdef", min_size=1, max_size=3), max_size=20))
def test_cores_are_all_given_and_fairly(cores: int, busy: set[str]) -> None:
    shares = divide(cores, busy)
    assert shares.keys() == busy
    if busy:
        assert sum(shares.values()) == max(cores, len(busy))
        assert max(shares.values()) - min(shares.values()) <= 1
        assert min(shares.values()) >= 1


def cgroup(tmp_path: Path, membership: str, files: dict[str, str]) -> dict[str, Path]:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(membership)
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {"proc": tmp_path / "proc", "cgroup": tmp_path / "cgroup"}


@pytest.mark.parametrize(("membership", "files", "quota"), [
    ("0::/a/b\n", {"a/b/cpu.max": "150000 100000\n", "cpu.max": "max 100000\n"}, 1.5),
    ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3.0),
    ("0::/\n", {"cpu.max": "250000 100000\n"}, 2.5),
    ("0::/not/visible/here\n", {"cpu.max": "200000 100000\n"}, 2.0),
    ("0::/\n", {"cpu.max": "max 100000\n"}, None),
    ("2:cpu,cpuacct:/x\n", {"cpu,cpuacct/x/cpu.cfs_quota_us": "400000\n",
                            "cpu,cpuacct/x/cpu.cfs_period_us": "100000\n"}, 4.0),
    ("2:cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, None),
    ("2:cpuset:/x\n1:cpu:/y\n", {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
    ("", {}, None),
])
def test_the_tightest_quota_counts(tmp_path: Path, membership: str, files: dict[str, str], quota: float | None) -> None:
    assert cpu_quota(**cgroup(tmp_path, membership, files)) == quota


@pytest.mark.parametrize(("quota", "affinity", "cores"), [
    ("250000 100000", 8, 2), ("50000 100000", 8, 1), ("max 100000", 3, 3), ("800000 100000", 2, 2)])
def test_cores_are_whole_and_at_least_one(tmp_path: Path, quota: str, affinity: int, cores: int) -> None:
    assert usable_cores(**cgroup(tmp_path, "0::/\n", {"cpu.max": quota}), affinity=affinity) == cores


def test_pss_is_read_in_bytes_and_the_dead_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "smaps_rollup").write_text(
        "00-ff ---p 00:00 0 [rollup]\nRss: 900 kB\nPss: 512 kB\nPss_Dirty: 1 kB\n")
    assert pss_bytes(7, proc=tmp_path) == 512 * 1024


def test_pages_are_walked_again_only_when_something_moved(tmp_path: Path) -> None:
    now = 0.0
    meter = Meter(proc=tmp_path, clock=lambda: now)

    def process(pid: int, *, pss_kib: int, resident: int) -> None:
        (tmp_path / str(pid)).mkdir(exist_ok=True)
        (tmp_path / str(pid) / "smaps_rollup").write_text(f"Rss: 1 kB\nPss: {pss_kib} kB\n")
        (tmp_path / str(pid) / "statm").write_text(f"0 {resident // resource.getpagesize()} 0 0 0 0 0\n")

    mib = 1 << 20
    process(7, pss_kib=100 << 10, resident=200 * mib)
    assert meter([7, 8]) == {7: 100 * mib}
    process(7, pss_kib=40 << 10, resident=203 * mib)
    assert meter([7]) == {7: 103 * mib}, "not walked again, and what grew counts"
    process(7, pss_kib=40 << 10, resident=199 * mib)
    assert meter([7]) == {7: 100 * mib}
    process(7, pss_kib=60 << 10, resident=206 * mib)
    assert meter([7]) == {7: 60 * mib}, "it moved by more than the drift"
    process(7, pss_kib=30 << 10, resident=206 * mib)
    now = 21.0
    assert meter([7]) == {7: 30 * mib}, "a measurement grows old"
    process(9, pss_kib=5 << 10, resident=10 * mib)
    process(7, pss_kib=20 << 10, resident=206 * mib)
    assert meter([7, 9]) == {7: 20 * mib, 9: 5 * mib}


def test_the_end_of_a_child_in_words() -> None:
    assert exit_words(-9) == "signal SIGKILL"
    assert exit_words(3) == "exit code 3"
    loading = crash_error(-6, ["one", "two", "GGML_ASSERT(x) failed"], loading=True)
    assert loading.code is Code.LOAD_FAILED
    assert "SIGABRT" in loading.message
    assert "two | GGML_ASSERT(x) failed" in loading.message
    working = crash_error(-11, [], loading=False, fault="not a report: x")
    assert working.code is Code.ENGINE_CRASHED
    assert "not a report" in working.message


def test_a_child_can_only_name_codes_that_exist() -> None:
    assert engine_code("invalid_model_file", Code.LOAD_FAILED) is Code.INVALID_MODEL_FILE
    assert engine_code("whatever", Code.LOAD_FAILED) is Code.LOAD_FAILED


def test_wall_time_of_a_monotonic_moment() -> None:
    class Fixed(Clock):
        def monotonic(self) -> float:
            return 50.0

        def wall(self) -> float:
            return 1000.0

    assert Fixed().wall_of(40.0) == 990.0
