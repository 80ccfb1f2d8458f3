"""Reads the raw header of a GGUF file (versions 2 and 3) from bytes that may be hostile, or only the first part.

The rules are those of llama.cpp's gguf.cpp: what it would refuse is refused here, before any native code sees it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from paddock_api.gguf_types import ARRAY, BOOL, STRING, TENSOR_TYPES, VALUE_FORMATS, VALUE_SIZES, TensorType

MAX_HEADER_BYTES = 256 << 20
MAX_KEYS = 16_384
MAX_TENSORS = 65_536
MAX_KEY_BYTES = 1024
MAX_STRING_BYTES = 4 << 20
MAX_TEXT_BYTES = 32 << 20  # of all kept strings together
MAX_ARRAY_ITEMS = 4 << 20
MAX_KEPT_ITEMS = 1024  # a longer array (tokens, merges, scores) is known by its length alone
MAX_DIMENSIONS = 4
MAX_TENSOR_NAME = 63
MAX_ALIGNMENT = 1 << 20
_MAX_INT64 = 2**63 - 1
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


class GgufError(Exception):
    """The file is not a usable GGUF file; the message says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NeedMoreBytes(Exception):
    """The header goes on behind the given bytes: come again with at least `at_least` from the start of the file.

    It is a lower bound; a reader by ranges does well to fetch twice what it had."""

    def __init__(self, at_least: int) -> None:
        super().__init__(f"at least {at_least} bytes are needed")
        self.at_least = at_least


@dataclass(frozen=True, slots=True)
class SkippedArray:
    """An array that is known by its length only."""

    length: int


Scalar = int | float | bool | str
Value = Scalar | tuple[int | float | bool, ...] | SkippedArray


@dataclass(frozen=True, slots=True)
class Tensor:
    """`offset` counts from the start of the data section, `size` in bytes."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    size: int

    @property
    def elements(self) -> int:
        count = 1
        for dimension in self.shape:
            count *= dimension
        return count


@dataclass(frozen=True, slots=True)
class RawHeader:
    """`data_offset`: where the tensor data starts in the file; `end`: where its last byte ends."""

    version: int
    values: dict[str, Value]
    tensors: tuple[Tensor, ...]
    alignment: int
    data_offset: int
    end: int


class _Cursor:
    def __init__(self, data: memoryview, file_size: int | None) -> None:
        self.data = data
        self.file_size = file_size
        self.position = 0
        self.text_left = MAX_TEXT_BYTES

    def short(self, end: int) -> Exception:
        """What to raise when the header reaches to `end`, past the bytes at hand."""
        if self.file_size is not None and end > self.file_size:
            return GgufError(f"the file is truncated: its header needs {end} bytes, the file has {self.file_size}")
        if end > MAX_HEADER_BYTES:
            return GgufError(f"the header is longer than {MAX_HEADER_BYTES} bytes")
        return NeedMoreBytes(end)

    def take(self, size: int) -> int:
        """Step over `size` bytes; returns where they start."""
        start = self.position
        if start + size > len(self.data):
            raise self.short(start + size)
        self.position = start + size
        return start

    def u32(self) -> int:
        return int(_U32.unpack_from(self.data, self.take(4))[0])

    def u64(self) -> int:
        return int(_U64.unpack_from(self.data, self.take(8))[0])

    def raw(self, limit: int, what: str) -> bytes:
        length = self.u64()
        if length > limit:
            raise GgufError(f"{what} has {length} bytes; at most {limit} are allowed")
        start = self.take(length)
        return bytes(self.data[start : start + length])

    def name(self, limit: int, what: str) -> str:
        try:
            return self.raw(limit, what).decode("utf-8")
        except UnicodeDecodeError:
            raise GgufError(f"{what} is not UTF-8") from None

    def text(self, what: str) -> str:
        raw = self.raw(MAX_STRING_BYTES, what)
        self.text_left -= len(raw)
        if self.text_left < 0:
            raise GgufError(f"the metadata holds more than {MAX_TEXT_BYTES} bytes of text")
        return raw.decode("utf-8", "replace")

    def skip_strings(self, count: int, what: str) -> None:
        # A vocabulary has 262,144 of these: no string is made, only lengths are read.
        data, end, position, read = self.data, len(self.data), self.position, _U64.unpack_from
        for done in range(count):
            if position + 8 > end:
                raise self.short(position + 8 * (count - done))
            length = read(data, position)[0]
            if length > MAX_STRING_BYTES:
                raise GgufError(f"a text in {what} has {length} bytes; at most {MAX_STRING_BYTES} are allowed")
            position += 8 + length
        if position > end:
            raise self.short(position)
        self.position = position

    def numbers(self, kind: int, count: int) -> tuple[int | float | bool, ...]:
        start = self.take(VALUE_SIZES[kind] * count)
        values = struct.unpack_from(f"<{count}{VALUE_FORMATS[kind]}", self.data, start)
        return tuple(value != 0 for value in values) if kind == BOOL else values


def read_raw(data: bytes | bytearray | memoryview, *, file_size: int | None = None) -> RawHeader:
    """The header at the start of `data`. `file_size` (bytes) makes it check that the file holds all it speaks of.

    Raises GgufError and NeedMoreBytes, nothing else."""
    with memoryview(data) as view, view.cast("B") as octets:
        return _read(_Cursor(octets, file_size))


def _read(cursor: _Cursor) -> RawHeader:
    version = _version(cursor)
    tensor_count, key_count = cursor.u64(), cursor.u64()
    if tensor_count > MAX_TENSORS:
        raise GgufError(f"the header counts {tensor_count} tensors; at most {MAX_TENSORS} are allowed")
    if key_count > MAX_KEYS:
        raise GgufError(f"the header counts {key_count} metadata keys; at most {MAX_KEYS} are allowed")
    values: dict[str, Value] = {}
    for _ in range(key_count):
        key = cursor.name(MAX_KEY_BYTES, "a metadata key")
        if not key or key in values:
            raise GgufError(f"the metadata key {key!r} is empty or comes twice")
        values[key] = _value(cursor, key)
    alignment = _alignment(values)
    tensors = _tensors(cursor, tensor_count, alignment)
    data_offset = _padded(cursor.position, alignment) if tensors else cursor.position
    end = data_offset + (tensors[-1].offset + tensors[-1].size if tensors else 0)
    if cursor.file_size is not None and end > cursor.file_size:
        raise GgufError(f"the file is truncated: its tensors reach to byte {end}, the file has {cursor.file_size}")
    return RawHeader(version, values, tensors, alignment, data_offset, end)


def _version(cursor: _Cursor) -> int:
    head = bytes(cursor.data[:4])
    if head != b"GGUF"[: len(head)]:
        raise GgufError(f"not a GGUF file: it starts with {head!r}, not with b'GGUF'")
    cursor.take(4)
    version = cursor.u32()
    if version and version & 0xFFFF == 0:
        raise GgufError("the file is big-endian; only little-endian GGUF is supported")
    if version not in (2, 3):
        raise GgufError(f"GGUF version {version} is not supported; convert the file to version 3")
    return version


def _value(cursor: _Cursor, key: str) -> Value:
    kind = cursor.u32()
    if kind == STRING:
        return cursor.text(f"the metadata value {key!r}")
    if kind in VALUE_SIZES:
        return cursor.numbers(kind, 1)[0]
    if kind == ARRAY:
        return _array(cursor, key)
    raise GgufError(f"the metadata key {key!r} has the unknown type {kind}")


def _array(cursor: _Cursor, key: str) -> Value:
    kind, count = cursor.u32(), cursor.u64()
    if kind != STRING and kind not in VALUE_SIZES:
        raise GgufError(f"the array {key!r} holds items of the type {kind}; arrays of arrays are not supported")
    if count > MAX_ARRAY_ITEMS:
        raise GgufError(f"the array {key!r} has {count} items; at most {MAX_ARRAY_ITEMS} are allowed")
    if kind == STRING:
        cursor.skip_strings(count, repr(key))
    elif count <= MAX_KEPT_ITEMS:
        return cursor.numbers(kind, count)
    else:
        cursor.take(VALUE_SIZES[kind] * count)
    return SkippedArray(count)


def _alignment(values: dict[str, Value]) -> int:
    alignment = values.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0 or alignment > MAX_ALIGNMENT or alignment & (alignment - 1):
        raise GgufError(f"general.alignment is {alignment!r}, not a power of two up to {MAX_ALIGNMENT}")
    return int(alignment)


def _tensors(cursor: _Cursor, count: int, alignment: int) -> tuple[Tensor, ...]:
    tensors: list[Tensor] = []
    names: set[str] = set()
    expected = 0
    for _ in range(count):
        tensor = _tensor(cursor)
        if tensor.name in names:
            raise GgufError(f"the tensor {tensor.name!r} comes twice")
        if tensor.offset != expected:
            raise GgufError(f"the tensor {tensor.name!r} lies at {tensor.offset}, not at {expected} after the last")
        expected = _padded(expected + tensor.size, alignment)
        if expected > _MAX_INT64:
            raise GgufError("the tensors together are larger than any file")
        names.add(tensor.name)
        tensors.append(tensor)
    return tuple(tensors)


def _tensor(cursor: _Cursor) -> Tensor:
    name = cursor.name(MAX_TENSOR_NAME, "a tensor's name")
    dimensions = cursor.u32()
    if dimensions > MAX_DIMENSIONS:
        raise GgufError(f"the tensor {name!r} has {dimensions} dimensions; at most {MAX_DIMENSIONS} are allowed")
    shape = tuple(cursor.u64() for _ in range(dimensions))
    number = cursor.u32()
    offset = cursor.u64()
    kind = TENSOR_TYPES.get(number)
    if kind is None:
        raise GgufError(f"the tensor {name!r} has the type {number}, which this version does not know")
    row = shape[0] if shape else 1
    if row % kind.block:
        raise GgufError(f"the tensor {name!r} has rows of {row} elements, no multiple of {kind.name}'s {kind.block}")
    elements = 1
    for length in shape:
        elements *= max(length, 1)
    # Checked without the zeros, so that no product on the way can overflow in native code.
    if elements > _MAX_INT64 // kind.size:
        raise GgufError(f"the tensor {name!r} with the shape {shape} is larger than any file")
    size = 0 if 0 in shape else elements // kind.block * kind.size
    return Tensor(name, shape, kind, offset, size)


def _padded(size: int, alignment: int) -> int:
    return (size + alignment - 1) // alignment * alignment
