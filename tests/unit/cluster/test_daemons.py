"""Processes that outlive who started them are known by name, and never mistaken for another with their number."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.daemons import Daemons
from tests.cluster.problems import ClusterError


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    made = Daemons(tmp_path)
    yield made
    made.stop(*made.names())


def test_another_command_finds_and_stops_what_one_started(daemons: Daemons, tmp_path: Path) -> None:
    daemons.start("one", ["sleep", "600"])
    other = Daemons(tmp_path)
    assert other.names() == ["one"]
    assert other.pid("one") == daemons.pid("one") is not None
    other.stop("one")
    assert daemons.pid("one") is None


def test_a_restart_uses_the_same_command(daemons: Daemons) -> None:
    daemons.start("one", ["sleep", "600"])
    before = daemons.pid("one")
    daemons.restart("one")
    after = daemons.pid("one")
    assert after not in (None, before)
    assert Path(f"/proc/{after}/cmdline").read_bytes() == b"sleep\x00600\x00"


def test_a_frozen_process_ends_when_it_is_stopped(daemons: Daemons) -> None:
    daemons.start("one", ["sleep", "600"])
    daemons.signal("one", signal.SIGSTOP)
    daemons.stop("one", within=30)
    assert daemons.pid("one") is None


def test_one_that_ignores_the_request_is_killed(daemons: Daemons) -> None:
    daemons.start("deaf", ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"])
    daemons.wait("deaf", "it is deaf", lambda: "ready" in daemons.log("deaf"), within=30)
    daemons.stop("deaf", within=0.2)
    assert daemons.pid("deaf") is None


def test_a_number_that_was_given_to_another_process_is_not_ours(daemons: Daemons) -> None:
    daemons.start("one", ["sleep", "600"])
    record = daemons.run / "one.json"
    known = json.loads(record.read_text())
    record.write_text(json.dumps({**known, "started": known["started"] - 1}))
    assert daemons.pid("one") is None
    record.write_text(json.dumps(known))


def test_waiting_for_one_that_ended_shows_its_last_words(daemons: Daemons) -> None:
    daemons.start("brief", ["sh", "-c", "echo no such luck"])
    started = time.monotonic()
    with pytest.raises(ClusterError, match="brief ended before it works:\nno such luck"):
        daemons.wait("brief", "it works", lambda: False, within=60)
    assert time.monotonic() - started < 50


def test_an_unknown_name_is_answered_with_the_known_ones(daemons: Daemons) -> None:
    daemons.start("one", ["sleep", "600"])
    with pytest.raises(ClusterError, match=r"no such part of the cluster: two \(there are: one\)"):
        daemons.restart("two")
