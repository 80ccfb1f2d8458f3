"""One llama.cpp context: its batch, its sequences' memory, its outputs. Owned by the decode thread alone."""

from __future__ import annotations

import ctypes
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from paddock_runtime.engine.llama import native
from paddock_runtime.engine.llama.native import lib
from paddock_runtime.engine.llama.weights import Weights
from paddock_runtime.engine.protocol import ContextOptions

STEP_TOKENS = 512  # most tokens of one decode call: one micro-batch
_DEFAULT_CONTEXT = 8192
_DEFAULT_EMBEDDING_CONTEXT = 2048
_CELL_PADDING = 256

Floats = npt.NDArray[np.float32]


class ContextError(Exception):
    """The context can't be made: `code` is a word of `paddock_api.errors.Code`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Decoded(IntEnum):
    """What llama_decode answers."""

    OK = 0
    NO_CELLS = 1
    ABORTED = 2


class Shape:
    """The numbers of a context, from the options and what the weights allow. `paddock_api.estimate.engine_options`
    foretells them from the file's header.

    `sequences` = live ones plus places for idle prefixes or checkpoints. Each place costs a recurrent
    model a whole state, so those keep fewer.
    """

    def __init__(self, weights: Weights, options: ContextOptions) -> None:
        recurrent = weights.memory_class in ("recurrent", "hybrid")
        self.embeddings = options.embeddings or weights.memory_class == "encoder"
        wanted = _DEFAULT_EMBEDDING_CONTEXT if self.embeddings else _DEFAULT_CONTEXT
        if not self.embeddings:
            wanted = min(wanted, options.cache_tokens or wanted)
        trained = weights.trained_context or wanted
        self.context_length = options.context_length or min(trained, wanted)
        if weights.memory_class == "encoder" and self.context_length > trained:
            raise ContextError("context_failed", f"contextLength {self.context_length} is over the {trained} "
                                                 "tokens that this encoder was trained for: lower it")
        self.parallel = options.parallel or (4 if recurrent else 16)
        self.sequences = min(native.MAX_SEQUENCES, 2 * self.parallel if recurrent else self.parallel + 16)
        if self.embeddings:
            self.cache_tokens = self.context_length
            self.sequences = self.parallel
        else:
            asked = options.cache_tokens or 2 * self.context_length
            self.cache_tokens = -(-asked // _CELL_PADDING) * _CELL_PADDING
        if self.cache_tokens < self.context_length:
            raise ContextError("context_failed", f"cacheTokens {self.cache_tokens} is less than contextLength "
                                                 f"{self.context_length}: raise it or lower contextLength")
        self.step_tokens = self.context_length if self.embeddings else STEP_TOKENS


class Context:
    """Raises ContextError from the constructor."""

    def __init__(self, weights: Weights, options: ContextOptions, *, threads: int) -> None:
        self.weights = weights
        self.shape = Shape(weights, options)
        native.log.reset()
        self.handle = lib.llama_init_from_model(weights.model, self._parameters(options, threads))
        if not self.handle:
            raise ContextError("context_failed", native.log.last("the context could not be made"))
        self.buffers = dict(native.log.buffers)
        self.pooling = int(lib.llama_pooling_type(self.handle))
        self._memory = lib.llama_get_memory(self.handle)
        self._sliding = weights.memory_class == "sliding"
        self.windowed = self._sliding and not options.sliding_window_full  # what lies behind the window goes
        self._make_batch()
        self._adapters: list[Any] = []
        try:
            self._set_adapters(options.adapters)
        except ContextError:
            self.close()
            raise

    def _parameters(self, options: ContextOptions, threads: int) -> Any:
        shape = self.shape
        params = lib.llama_context_default_params()
        params.n_ctx = shape.cache_tokens
        params.n_batch = params.n_ubatch = shape.step_tokens
        params.n_seq_max = shape.sequences
        # Room for one row of logits a sequence: the library's default reserves one a token of the batch.
        params.n_outputs_max = shape.step_tokens if shape.embeddings else shape.sequences
        params.n_threads = params.n_threads_batch = threads
        params.type_k = native.CACHE_TYPES[options.cache_type_k.lower()]
        params.type_v = native.CACHE_TYPES[options.cache_type_v.lower()]
        params.kv_unified = True
        params.swa_full = options.sliding_window_full
        params.embeddings = shape.embeddings
        params.no_perf = True
        if shape.embeddings and options.pooling:
            params.pooling_type = native.POOLING[options.pooling.lower()]
        return params

    def _make_batch(self) -> None:
        size = self.shape.step_tokens
        self.tokens = np.zeros(size, np.int32)
        self.positions = np.zeros(size, np.int32)
        self.sequence_ids = np.zeros(size, np.int32)
        self.outputs = np.zeros(size, np.int8)
        self._counts = np.ones(size, np.int32)
        # Each token belongs to one sequence: the pointer table never changes, only what it points at.
        step = self.sequence_ids.itemsize
        base = self.sequence_ids.ctypes.data
        self._pointers = np.arange(base, base + size * step, step, dtype=np.uint64)
        batch = lib.llama_batch()
        batch.token = self.tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        batch.pos = self.positions.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        batch.n_seq_id = self._counts.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        batch.seq_id = self._pointers.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(ctypes.c_int32)))
        batch.logits = self.outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
        self._batch = batch

    def _set_adapters(self, adapters: dict[str, float]) -> None:
        if not adapters:
            return
        for path in adapters:
            handle = lib.llama_adapter_lora_init(self.weights.model, path.encode())
            if not handle:
                raise ContextError("context_failed", native.log.last(f"the adapter {path} could not be loaded"))
            self._adapters.append(handle)
        count = len(self._adapters)
        pointers = (lib.llama_adapter_lora_p_ctypes * count)(*self._adapters)
        scales = (ctypes.c_float * count)(*adapters.values())
        if lib.llama_set_adapters_lora(self.handle, pointers, count, scales) != 0:
            raise ContextError("context_failed", native.log.last("the adapters could not be set"))

    def close(self) -> None:
        if self.handle:
            lib.llama_free(self.handle)
            self.handle = None
            for adapter in self._adapters:  # they would stay as long as the weights
                lib.llama_adapter_lora_free(adapter)

    def set_threads(self, count: int) -> None:
        lib.llama_set_n_threads(self.handle, count, count)

    # --- computing ----------------------------------------------------------------------------

    def decode(self, count: int) -> Decoded:
        """Compute the first `count` entries of the batch arrays. Raises RuntimeError on what can't be mended."""
        self._batch.n_tokens = count
        result = lib.llama_decode(self.handle, self._batch)
        if result not in (0, 1, 2):
            raise RuntimeError(f"llama_decode answered {result}: {native.log.last('no reason given')}")
        return Decoded(result)

    def logits(self, rows: int) -> Floats:
        """The outputs of the last decode in batch order: (rows, vocabulary) float32, writable, valid until the next."""
        pointer = lib.llama_get_logits(self.handle)
        flat = np.ctypeslib.as_array(pointer, (rows * self.weights.vocabulary,))
        return flat.reshape(rows, self.weights.vocabulary)

    def pooled(self, sequence: int, length: int) -> Floats:
        """A copy of the sequence's pooled embedding: (length,) float32."""
        return np.ctypeslib.as_array(lib.llama_get_embeddings_seq(self.handle, sequence), (length,)).copy()

    # --- memory -------------------------------------------------------------------------------

    def copy_sequence(self, source: int, target: int, end: int) -> None:
        """Let `target` share the cells of `source` at positions [0, end). No data moves."""
        lib.llama_memory_seq_cp(self._memory, source, target, 0, end)

    def drop_sequence(self, sequence: int) -> None:
        if self._memory:
            lib.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def keeps_window(self, sequence: int, position: int) -> bool:
        """Whether a fork of `sequence` at `position` finds all the cells that its attention will look at. A restored
        sequence has no more than its window, in a cache of full size too."""
        if not self._sliding:
            return True
        first = int(lib.llama_memory_seq_pos_min(self._memory, sequence))
        return first <= max(0, position - self.weights.window)

    def last_position(self, sequence: int) -> int:
        return int(lib.llama_memory_seq_pos_max(self._memory, sequence))

    @property
    def memory_bytes(self) -> int:
        """Of the weights and of this context's cache."""
        return self.weights.facts().weights_bytes + self.buffers.get("KV", 0) + self.buffers.get("RS", 0)

    def save_sequence(self, sequence: int, *, most: int) -> bytearray | None:
        """The sequence's state as `restore_sequence` takes it. None when it has more than `most` bytes."""
        size = int(lib.llama_state_seq_get_size(self.handle, sequence))
        if not 0 < size <= most:
            return None
        state = bytearray(size)
        written = lib.llama_state_seq_get_data(self.handle, (ctypes.c_uint8 * size).from_buffer(state), size, sequence)
        return state if written == size else None

    def restore_sequence(self, sequence: int, state: memoryview) -> bool:
        """Into an id that holds nothing. False: there are not enough cells, or the state is of another context."""
        data = np.frombuffer(state, np.uint8)
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        return int(lib.llama_state_seq_set_data(self.handle, pointer, data.size, sequence)) == data.size
