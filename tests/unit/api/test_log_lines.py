"""Texts of a log line: without secrets, and in a time that grows with their length only."""

from __future__ import annotations

import time

import pytest

from paddock_api.log_lines import JsonFormatter

FORMATTER = JsonFormatter((), max_text=8192)


@pytest.mark.parametrize(("text", "shown"), [
    ("GET https://h.example/f?signature=abc failed", "GET https://h.example/f?[redacted] failed"),
    ("https://h.example/f?", "https://h.example/f?[redacted]"),
    ("see https://h.example/f and http://g.example:1/x?a=b", "see https://h.example/f and http://g.example:1/x?[redacted]"),
    ("'https://h.example/f?a' https://h.example", "'https://h.example/f?[redacted]' https://h.example"),
    ("https://", "https://"),
])
def test_queries_are_cut_and_nothing_else_of_a_url(text: str, shown: str) -> None:
    assert FORMATTER.clean(text) == shown


@pytest.mark.parametrize("part", ["https://", "https://x?https://", "bearer ", "authorization: ", "authorization   ",
                                  "hf_"])
def test_no_text_holds_the_log_up(part: str) -> None:
    started = time.monotonic()
    assert len(FORMATTER.clean(part * 50_000)) <= 8193
    assert time.monotonic() - started < 10
