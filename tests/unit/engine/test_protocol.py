"""Frames: whatever is cut where, the same messages come out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_runtime.engine.frames import MAX_FRAME_BYTES, FrameReader, ProtocolError
from paddock_runtime.engine.protocol import (
    Cancel,
    Command,
    Delta,
    Generate,
    Sampling,
    Step,
    Usage,
    decode_command,
    decode_report,
    encode,
)

COMMANDS: list[Command] = [
    Cancel(id=7),
    Generate(id=1, context=0, salt="a/b\n", prompt="héllo \U0001f600",
             sampling=Sampling(seed=0, logit_bias={5: -100.0})),
    Generate(id=2, context=0, salt="", prompt=[1, 2, 3], max_tokens=0, stop=["x"]),
]


@given(cuts=st.lists(st.integers(0, 400), max_size=10))
def test_any_cut_gives_the_same_messages(cuts: list[int]) -> None:
    stream = b"".join(encode(command) for command in COMMANDS)
    reader, got, at = FrameReader(), [], 0
    for cut in [*sorted(min(cut, len(stream)) for cut in cuts), len(stream)]:
        got += [decode_command(payload) for payload in reader.feed(stream[at:cut])]
        at = cut
    assert got == COMMANDS


def test_explicit_zeros_survive() -> None:
    (payload,) = FrameReader().feed(encode(Generate(id=0, context=0, salt="", prompt="x", max_tokens=0,
                                                    sampling=Sampling(temperature=0.0, top_k=0, seed=0))))
    command = decode_command(payload)
    assert isinstance(command, Generate)
    assert command.max_tokens == 0
    assert (command.sampling.temperature, command.sampling.top_k, command.sampling.seed) == (0.0, 0, 0)


def test_reports_round_trip() -> None:
    step = Step(number=3, deltas=[Delta(1, "ab", 2), Delta(2, "", 0, None, "stop", Usage(5, 4, 3), "END")])
    (payload,) = FrameReader().feed(encode(step))
    assert decode_report(payload) == step


@pytest.mark.parametrize("payload", [b"", b"\xff", b"\x81\xa1t\xa4nope", encode(Step(number=1, deltas=[]))[4:]])
def test_what_is_no_command_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_command(payload)


def test_an_impossible_length_is_refused_at_once() -> None:
    with pytest.raises(ProtocolError):
        FrameReader().feed((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
