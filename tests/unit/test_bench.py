"""The bench's own arithmetic, parsing and honesty: what it must refuse to count."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import build_llama_server, cold, models, procs, prompts, report, serving, sides, stats
from bench.book import Book, Metric
from bench.client import InvalidReply, Request, Target, closed_loop, complete, encode
from bench.contests import order
from bench.procs import Load
from bench.sse import ProtocolError, ResponseParser

SPEED = Metric("tok/s", higher_is_better=True)
TIME = Metric("s", higher_is_better=False)


# Arithmetic


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([5.0], 50, 5.0), ([3.0, 1.0, 2.0], 50, 2.0), ([1.0, 2.0, 3.0, 4.0], 50, 2.5), ([0.0, 10.0], 95, 9.5)],
)
def test_percentile(values: list[float], percent: float, expected: float) -> None:
    assert stats.percentile(values, percent) == pytest.approx(expected)


def test_a_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        stats.percentile([], 50)


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0.0), (123.456, 123.5), (0.0012344, 0.001234), (-9876.5, -9876)])
def test_rounded_to_significant_digits(value: float, expected: float) -> None:
    assert stats.rounded(value) == pytest.approx(expected)


# Prompts


def test_disjoint_prompts_have_the_length_asked_for_and_part_at_the_first_word() -> None:
    texts = prompts.disjoint(32, 30, random.Random(1))
    assert {len(text.split()) + prompts.BOS_TOKENS for text in texts} == {30}
    assert len({text.split()[0] for text in texts}) == 32


def test_sharing_prompts_share_the_prefix_and_nothing_more() -> None:
    shared = prompts.prefix(340, random.Random(1))
    texts = prompts.sharing(shared, 16, 20, random.Random(2))
    assert all(text.startswith(shared + " ") for text in texts)
    assert len({text.split()[339] for text in texts}) == 16
    assert len(shared.split()) + prompts.BOS_TOKENS == 340
    assert {len(text.split()) + prompts.BOS_TOKENS for text in texts} == {360}


def test_too_many_disjoint_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        prompts.disjoint(len(prompts.WORDS) + 1, 30, random.Random(1))


def test_words_are_distinct() -> None:
    assert len(set(prompts.WORDS)) == len(prompts.WORDS)


def session(side: str, run: int) -> serving.Session:
    return serving.Session(Book(), side, run, "seed", sides.Running([], []), 8)


def test_both_sides_of_a_run_get_the_same_prompts_and_another_run_others() -> None:
    def asked(side: str, run: int) -> list[list[Request]]:
        return serving.queues(4, 2, 8, session(side, run).rng("throughput_4"))

    assert asked("paddock", 0) == asked("llama-server", 0)
    assert asked("paddock", 0) != asked("paddock", 1)
    assert [len(queue) for queue in asked("paddock", 0)] == [2, 2, 2, 2]


def test_every_side_comes_first_in_turn_and_plays_each_run() -> None:
    turns = [order(["a", "b", "c"], run) for run in range(3)]
    assert [turn[0] for turn in turns] == ["a", "b", "c"]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)


# The wire

EVENTS = [b'{"choices":[{"text":"a"}]}', b'{"choices":[{"text":"b"}]}', b"[DONE]"]
STREAM = b": beat\n\n" + b"".join(b"data: " + event + b"\n\n" for event in EVENTS)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@given(cuts=st.lists(st.integers(0, 400), max_size=8), size=st.integers(1, 60))
def test_events_are_the_same_however_the_bytes_are_cut(cuts: list[int], size: int) -> None:
    raw = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(STREAM, size)
    parser = ResponseParser()
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    events = [event for start, end in pairwise(places) for event in parser.feed(raw[start:end])]
    assert events == EVENTS
    assert (parser.status, parser.done) == (200, True)


def test_events_with_carriage_returns_and_a_body_until_close() -> None:
    parser = ResponseParser()
    assert parser.feed(HEAD + b"\r\n" + STREAM.replace(b"\n", b"\r\n")) == EVENTS
    assert not parser.done
    parser.eof()
    assert parser.done


def test_a_body_of_known_length_is_kept() -> None:
    parser = ResponseParser()
    assert parser.feed(b"HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\nnope") == []
    assert (parser.status, bytes(parser.body), parser.done) == (503, b"nope", True)


@pytest.mark.parametrize(
    "raw",
    [b"SSH-2.0-x\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"x" * 70_000],
    ids=["not HTTP", "bad chunk", "no end of headers"],
)
def test_what_is_not_http_is_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        ResponseParser().feed(raw)


def test_a_connection_that_closes_early_is_refused() -> None:
    parser = ResponseParser()
    parser.feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab")
    with pytest.raises(ProtocolError, match="middle"):
        parser.eof()


# The client


@contextlib.asynccontextmanager
async def server(body: bytes, *, head: bytes = HEAD, seen: list[bytes] | None = None) -> AsyncIterator[Target]:
    """Answers everything with the same bytes, then closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head_bytes = await reader.readuntil(b"\r\n\r\n")
        length = int(head_bytes.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        request = await reader.readexactly(length)
        if seen is not None:
            seen.append(request)
        writer.write(head + b"\r\n" + body)
        await writer.drain()
        writer.close()

    running = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with running:
        yield Target(running.sockets[0].getsockname()[1], "gemma")


def stream(*texts: str, tokens: int, done: bool = True) -> bytes:
    chunks: list[dict[str, object]] = [{"choices": [{"text": text}], "usage": None} for text in texts]
    chunks.append({"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": tokens}})
    lines = [json.dumps(chunk) for chunk in chunks] + (["[DONE]"] if done else [])
    return b": loading\n\n" + b"".join(f"data: {line}\n\n".encode() for line in lines)


async def test_a_complete_reply_is_counted() -> None:
    seen: list[bytes] = []
    async with server(stream("", "a", "b", tokens=3), seen=seen) as target:
        reply = await complete(target, Request("apple river", 3))
    assert (reply.prompt_tokens, reply.completion_tokens) == (30, 3)
    assert reply.sent < reply.first <= reply.ended
    asked = json.loads(seen[0])
    assert (asked["prompt"], asked["max_tokens"]) == ("apple river", 3)
    assert (asked["ignore_eos"], asked["stream"], asked["stream_options"]) == (True, True, {"include_usage": True})


@pytest.mark.parametrize(
    ("body", "head", "reason"),
    [
        (stream("a", tokens=2), HEAD, "2 tokens instead of 3"),
        (stream("", "", tokens=3), HEAD, "no text"),
        (stream("a", tokens=3, done=False), HEAD, r"no \[DONE\]"),
        (b'data: {"choices":[{"text":"a"}]}\n\ndata: [DONE]\n\n', HEAD, "no usage"),
        (b'data: {"error":{"message":"engine died"}}\n\n', HEAD, "engine died"),
        (b"data: {broken\n\n", HEAD, "HTTP 200"),
        (b"try later", b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n", "HTTP 503: try later"),
        (b"5\r\nda", HEAD + b"Transfer-Encoding: chunked\r\n", "middle"),
    ],
    ids=["too few", "no text", "no end", "no usage", "error event", "not JSON", "refused", "cut"],
)
async def test_what_is_not_a_complete_reply_makes_the_run_invalid(body: bytes, head: bytes, reason: str) -> None:
    async with server(body, head=head) as target:
        with pytest.raises(InvalidReply, match=reason):
            await complete(target, Request("apple river", 3))


async def test_one_bad_reply_of_many_makes_the_run_invalid() -> None:
    async with server(stream("a", tokens=3)) as target:
        good, bad = Request("apple", 3), Request("river", 4)
        assert len(await closed_loop(target, [[good, good], [good]])) == 3
        with pytest.raises(InvalidReply, match="3 tokens instead of 4"):
            await closed_loop(target, [[good], [good, bad]])


async def test_nobody_listening_makes_the_run_invalid() -> None:
    with pytest.raises(InvalidReply, match="ConnectionRefused"):
        await complete(Target(sides.free_port(), "gemma"), Request("apple", 1))


def test_text_that_speaks_of_errors_and_usage_is_only_text() -> None:
    quoted = json.dumps({"choices": [{"text": '"error":"usage":{'}]}).encode()
    assert b'"error":' not in quoted
    assert b'"usage":{' not in quoted
    assert encode(Request('"error":', 1), "gemma").count(b'"error":') == 0


# The servers


def python_side(code: str) -> sides.Side:
    return sides.Side("test", (sides.Process((sys.executable, "-c", code, "{port}"), "/", ("gemma",)),))


HTTP_SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


async def test_a_side_is_up_when_it_says_so_and_gone_afterwards_whatever_happens(tmp_path: Path) -> None:
    started: list[int] = []

    async def broken_run() -> None:
        async with sides.running(python_side(HTTP_SERVER), tmp_path) as up:
            started.extend(procs.tree(up.pids))
            assert procs.pss_bytes(started) > 2**20
            raise InvalidReply("mid-run")

    with pytest.raises(InvalidReply, match="mid-run"):
        await broken_run()
    assert len(started) == 1
    assert procs.pss_bytes(started) == 0


async def test_a_server_that_dies_at_its_start_shows_its_log(tmp_path: Path) -> None:
    side = python_side("import sys; print('no such model'); sys.exit(3)")
    with pytest.raises(sides.SideError, match=r"ended with 3: no such model"):
        await contextlib.AsyncExitStack().enter_async_context(sides.running(side, tmp_path))


def test_a_server_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "STOP_TIMEOUT", 0.3)
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"deaf\n"
        sides.stop([child])
    assert child.returncode == -9


def test_both_sides_get_the_same_room() -> None:
    flags = sides.serving_flags(2, unified=True)
    engine = sides.manifest("gemma", Path("gemma.gguf"))["spec"]["engine"]
    assert flags[flags.index("-c") + 1] == str(engine["cacheTokens"])
    assert flags[flags.index("-np") + 1] == str(engine["parallel"])
    assert engine["contextLength"] * engine["parallel"] == engine["cacheTokens"]
    longest = serving.PREFIX_TOKENS + serving.SUFFIX_TOKENS + serving.BURST_TOKENS
    assert longest <= engine["contextLength"]


def test_the_phase_is_read_from_the_state() -> None:
    state = {"models": [{"name": "twin", "phase": "Ready"}, {"name": "gemma", "phase": "Cached"}]}
    assert cold.phase_of(state, "gemma") == "Cached"
    assert cold.phase_of(state, "other") is None


# /proc


def fake_process(proc: Path, pid: int, parent: int, ticks: int, pss: int) -> None:
    (proc / str(pid)).mkdir(parents=True)
    fields = ["S", str(parent), *["0"] * 9, str(ticks), "0", "0", "0", "20"]
    (proc / str(pid) / "stat").write_text(f"{pid} (a ) b) {' '.join(fields)}\n")
    (proc / str(pid) / "smaps_rollup").write_text(f"0-1 ---p [rollup]\nRss: 9999 kB\nPss: {pss} kB\nPss_Anon: 7 kB\n")


def test_the_tree_of_processes_and_its_memory_and_time(tmp_path: Path) -> None:
    for pid, parent in ((10, 1), (11, 10), (12, 11), (20, 1)):
        fake_process(tmp_path, pid, parent, ticks=os.sysconf("SC_CLK_TCK"), pss=100)
    (tmp_path / "self").mkdir()
    found = procs.tree([10], tmp_path)
    assert found == {10, 11, 12}
    assert procs.pss_bytes([*found, 99], tmp_path) == 300 * 1024
    assert procs.cpu_seconds([*found, 99], tmp_path) == pytest.approx(3.0)


def test_idle_time_is_not_busy(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu 100 0 100 5000 300 0 0 50 70 0\ncpu0 1 1 1 1\n")
    assert procs.machine_busy_seconds(tmp_path) * os.sysconf("SC_CLK_TCK") == pytest.approx(250)


# The report


def filled(ours: float, split: float, unified: float, metric: Metric = SPEED) -> report.Json:
    return report.scenario(metric, {report.OURS: [ours], "split": [split], "unified": [unified]})


def test_the_peer_is_the_better_of_its_variants() -> None:
    fast = filled(90, 100, 80)
    assert (fast["peer"], fast["peer_variant"], fast["ratio"]) == (100, "split", 0.9)
    quick = filled(1.0, 4.0, 2.0, TIME)
    assert (quick["peer"], quick["peer_variant"], quick["ratio"]) == (2.0, "unified", 0.5)


def test_a_ratio_is_of_medians() -> None:
    one = report.scenario(SPEED, {report.OURS: [1, 10, 100], "peer": [5, 20, 21]})
    assert (one["ours"], one["peer"], one["ratio"]) == (10, 20, 0.5)


def test_without_values_on_one_side_there_is_no_ratio() -> None:
    assert report.scenario(SPEED, {report.OURS: [1.0]})["ratio"] is None
    assert report.scenario(SPEED, {"peer": [1.0]})["ratio"] is None


def full_book(throughput: float = 100.0, others: float = 0.0) -> Book:
    book = Book()
    for name in report.THROUGHPUTS:
        book.add(name, SPEED, report.OURS, throughput)
        book.add(name, SPEED, "peer", 100.0)
        book.add_load(name, report.OURS, Load(0.02, 1.9, others))
    for name, metric, ours, peer in (
        ("burst_cold_ttft_p50", TIME, 0.5, 6.0),
        ("burst_cold_throughput", SPEED, 140.0, 46.0),
        ("cold_request", TIME, 0.8, 1.6),
        ("two_models_of_one", SPEED, 0.9, 0.5),
        ("switch_serial", TIME, 1.0, 2.1),
        ("switch_8_clients", SPEED, 3.0, 1.7),
        ("comeback", TIME, 1.2, 11.6),
        ("aliases_pss", TIME, 350.0, 568.0),
        ("router_cold", TIME, 0.9, 1.61),
    ):
        book.add(name, metric, report.OURS, ours)
        book.add(name, metric, "peer", peer)
    return book


def document(book: Book, load_before: float = 0.0) -> report.Json:
    return report.document(book, environment={}, commands={}, settings={}, load_before=load_before)


def met(made: report.Json) -> list[object]:
    goals = made["goals"]
    assert isinstance(goals, list)
    return [goal["met"] for goal in goals]


def test_goals_met_on_an_idle_machine() -> None:
    made = document(full_book())
    assert (made["valid"], made["claim"], made["throughput_geometric_mean"]) == (True, True, 1.0)
    assert met(made) == [True] * 11
    assert json.loads(json.dumps(made)) == made


def test_goals_missed_are_said_to_be_missed() -> None:
    assert met(document(full_book(throughput=89.0))) == [False, False, *[True] * 9]


@pytest.mark.parametrize(
    ("others", "load_before", "reason"),
    [(0.0, 1.5, "load average 1.50"), (0.6, 0.0, "other processes used 0.60 of a core")],
)
def test_nothing_is_claimed_on_a_busy_machine(others: float, load_before: float, reason: str) -> None:
    made = document(full_book(others=others), load_before)
    assert made["claim"] is False
    assert reason in str(made["no_claim_because"])
    assert met(made) == [None] * 11


def test_nothing_is_claimed_when_a_run_was_invalid() -> None:
    book = full_book()
    book.problem("serving, run 2, paddock: HTTP 500")
    made = document(book)
    assert (made["valid"], made["claim"], made["problems"]) == (False, False, ["serving, run 2, paddock: HTTP 500"])
    assert met(made) == [None] * 11


def test_prompts_that_the_sides_read_differently_make_a_run_invalid() -> None:
    book = full_book()
    book.add_prompt_tokens("throughput_4", 0, report.OURS, 240)
    book.add_prompt_tokens("throughput_4", 0, "peer", 240)
    assert book.mismatches() == []
    book.add_prompt_tokens("throughput_4", 1, report.OURS, 248)
    book.add_prompt_tokens("throughput_4", 1, "peer", 240)
    assert "throughput_4, run 2" in str(document(book)["problems"])


def test_goals_that_were_not_measured_are_not_met_nor_missed() -> None:
    book = Book()
    book.add("cold_request", TIME, report.OURS, 1.0)
    book.add("cold_request", TIME, "peer", 2.0)
    assert met(document(book)) == [None, None, None, None, True, *[None] * 6]


# The files and the build


def test_the_twin_differs_in_one_letter_of_its_name(tmp_path: Path) -> None:
    value = b"Gemma"
    pair = (12).to_bytes(8, "little") + b"general.name" + (8).to_bytes(4, "little") + len(value).to_bytes(8, "little")
    original = tmp_path / "original.gguf"
    original.write_bytes(b"GGUF" + pair + value + b"rest")
    assert models.twin(original, tmp_path / "twin.gguf").read_bytes() == b"GGUF" + pair + b"gemma" + b"rest"


def test_a_file_without_a_name_has_no_twin() -> None:
    with pytest.raises(models.ModelFileError, match=r"no general\.name"):
        models.name_offset(b"GGUF")


def test_the_build_is_of_the_locked_version_and_kept_by_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build_llama_server.cache_folder(build_llama_server.LOCKS, {"XDG_CACHE_HOME": str(tmp_path)})
    assert folder.parent == tmp_path / "paddock" / "llama-server"
    assert folder.name.startswith(build_llama_server.version(build_llama_server.LOCKS) + "-")
    monkeypatch.setattr(build_llama_server, "CMAKE_FLAGS", ("-DGGML_NATIVE=OFF",))
    other = build_llama_server.cache_folder(build_llama_server.LOCKS, {"XDG_CACHE_HOME": str(tmp_path)})
    assert other != folder


def test_a_lock_without_the_package_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "llama.txt").write_text("numpy==2.0\n")
    with pytest.raises(build_llama_server.BuildError, match="make lock"):
        build_llama_server.version(tmp_path)
