"""The only door to llama.cpp: loads the library, collects its log, names its constants.

Everything else in this package calls `lib` (the llama_cpp module) through small typed wrappers.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import re
from collections import deque
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as _llama

lib: Any = _llama

MAX_SEQUENCES = 256  # LLAMA_MAX_SEQ

CACHE_TYPES = {"f32": 0, "f16": 1, "q8_0": 8, "bf16": 30}  # enum ggml_type
POOLING = {"": -1, "none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}  # enum llama_pooling_type
POOLING_NAMES = {number: name for name, number in POOLING.items() if name}

_LEVEL_WARN, _LEVEL_ERROR, _LEVEL_CONT = 3, 4, 5
_BUFFER_SIZE = re.compile(r"(\w+): +\S+ +(KV|RS|compute|output|model) buffer size = +([0-9.]+) MiB")


class Log:
    """Keeps the library's last complaints (for error messages) and the buffer sizes it announces."""

    def __init__(self) -> None:
        self.complaints: deque[str] = deque(maxlen=20)
        self.buffers: dict[str, int] = {}
        self._level = 0
        self._callback = lib.llama_log_callback(self._on_line)

    def install(self) -> None:
        # The library keeps only the pointer: `self._callback` must live as long as it does.
        lib.llama_log_set(self._callback, None)

    def reset(self) -> None:
        self.complaints.clear()
        self.buffers.clear()

    def last(self, fallback: str) -> str:
        """The library's own words on what went wrong."""
        return "; ".join(list(self.complaints)[-3:]) or fallback

    def _on_line(self, level: int, text: bytes, _data: object) -> None:
        if level != _LEVEL_CONT:
            self._level = level
        line = text.decode("utf-8", "replace").strip()
        if self._level in (_LEVEL_WARN, _LEVEL_ERROR):
            if line:
                self.complaints.append(line[:300])
            return
        if found := _BUFFER_SIZE.search(line):
            kind = found.group(2)
            self.buffers[kind] = self.buffers.get(kind, 0) + int(float(found.group(3)) * (1 << 20))


log = Log()
_started = False


def start() -> None:
    """Load the backends, once a process. Raises RuntimeError when the library has no code for this processor."""
    global _started
    if _started:
        return
    log.install()
    folder = Path(lib._base_path)
    _load_variants(folder)
    lib._lib.ggml_backend_dev_count.restype = ctypes.c_size_t
    if not lib._lib.ggml_backend_dev_count():
        raise RuntimeError(f"llama.cpp has no code for this processor: no libggml-cpu-*.so that fits in {folder}")
    lib.llama_backend_init()
    _started = True


def _load_variants(folder: Path) -> None:
    """A build for every processor keeps each kind's code in a library of its own: the best is picked here.

    The call goes through llama's own handle: the wheel holds libggml twice, and the other copy is one that llama does
    not see.
    """
    if not any(folder.glob("libggml-cpu-*.so")):
        return
    load = lib._lib.ggml_backend_load_all_from_path
    load.argtypes, load.restype = [ctypes.c_char_p], None
    load(os.fsencode(folder))


def version() -> str:
    return f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}"


def give_back() -> None:
    """The heap's free pages, to the kernel. Only glibc keeps them; others have nothing to give."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
