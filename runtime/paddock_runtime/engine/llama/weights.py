"""One set of weights: loading, facts, tokens and their pieces. Immutable once loaded."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

from paddock_runtime.engine.llama import native
from paddock_runtime.engine.llama.native import lib
from paddock_runtime.engine.protocol import ModelFacts

_PIECE_BYTES = 512


class LoadError(Exception):
    """The file can't be loaded. `code` is a word of `paddock_api.errors.Code`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def memory_class(*, recurrent: bool, hybrid: bool, window: int, decoder: bool) -> str:
    """What prefix sharing may do with these weights: full | sliding | recurrent | hybrid | encoder."""
    if not decoder:
        return "encoder"
    if hybrid:
        return "hybrid"
    if recurrent:
        return "recurrent"
    return "sliding" if window > 0 else "full"


class Weights:
    """Raises LoadError from the constructor; `progress` gets 0…1 and returns False to give the load up."""

    def __init__(self, paths: Sequence[str], *, gpu_layers: int = 0, progress: Callable[[float], bool] | None = None
                 ) -> None:
        native.start()
        native.log.reset()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        if progress is not None:
            report = progress
            callback = lib.llama_progress_callback(lambda fraction, _data: report(float(fraction)))
            params.progress_callback = callback
        if len(paths) == 1:
            model = lib.llama_model_load_from_file(paths[0].encode(), params)
        else:
            names = (ctypes.c_char_p * len(paths))(*[path.encode() for path in paths])
            model = lib.llama_model_load_from_splits(names, len(paths), params)
        if not model:
            raise load_error(native.log.last("the file could not be loaded"))
        self.model = model
        self.vocab = lib.llama_model_get_vocab(model)
        self.vocabulary = int(lib.llama_vocab_n_tokens(self.vocab))
        self.window = int(lib.llama_model_n_swa(model))
        self.trained_context = int(lib.llama_model_n_ctx_train(model))
        self.memory_class = memory_class(
            recurrent=bool(lib.llama_model_is_recurrent(model)), hybrid=bool(lib.llama_model_is_hybrid(model)),
            window=self.window, decoder=not self._is_encoder())
        self.add_bos = bool(lib.llama_vocab_get_add_bos(self.vocab))
        self.buffers = dict(native.log.buffers)
        self._pieces: dict[int, bytes] = {}

    def close(self) -> None:
        if self.model:
            lib.llama_model_free(self.model)
            self.model = None

    def _is_encoder(self) -> bool:
        # BERT-like models say so by their non-causal attention; T5-like ones have both halves and are refused.
        architecture = self._meta("general.architecture") or ""
        causal = self._meta(f"{architecture}.attention.causal")
        if lib.llama_model_has_encoder(self.model) and lib.llama_model_has_decoder(self.model):
            lib.llama_model_free(self.model)
            raise LoadError("unsupported_model",
                            f"{architecture} is an encoder-decoder; only decoders and encoders are supported")
        return bool(lib.llama_model_has_encoder(self.model)) or causal == "false"

    def _meta(self, key: str) -> str | None:
        buffer = ctypes.create_string_buffer(256)
        length = lib.llama_model_meta_val_str(self.model, key.encode(), buffer, len(buffer))
        return None if length < 0 else buffer.value.decode("utf-8", "replace")

    def facts(self) -> ModelFacts:
        description = ctypes.create_string_buffer(128)
        lib.llama_model_desc(self.model, description, len(description))
        template = lib.llama_model_chat_template(self.model, None)
        architecture = self._meta("general.architecture") or "unknown"
        pooling = int(self._meta(f"{architecture}.pooling_type") or -1)
        return ModelFacts(
            architecture=architecture,
            memory_class=self.memory_class,
            description=description.value.decode("utf-8", "replace"),
            parameters=int(lib.llama_model_n_params(self.model)),
            weights_bytes=int(lib.llama_model_size(self.model)),
            trained_context=self.trained_context,
            embedding_length=int(lib.llama_model_n_embd_out(self.model)),
            vocabulary=self.vocabulary,
            pooling=native.POOLING_NAMES.get(pooling, ""),
            chat_template=template.decode("utf-8", "replace") if template else None,
            bos_token=self._token_text(int(lib.llama_vocab_bos(self.vocab))),
            eos_token=self._token_text(int(lib.llama_vocab_eos(self.vocab))),
            add_bos=self.add_bos,
        )

    def _token_text(self, token: int) -> str:
        if token < 0:
            return ""
        text: bytes | None = lib.llama_vocab_get_text(self.vocab, token)
        return text.decode("utf-8", "replace") if text else ""

    def tokenize(self, text: str) -> list[int]:
        """Special tokens in the text count as such; BOS and EOS are added as the model wants them."""
        data = text.encode("utf-8", "surrogatepass")
        size = len(data) + 8
        while True:
            tokens = (ctypes.c_int32 * size)()
            count = lib.llama_tokenize(self.vocab, data, len(data), tokens, size, True, True)
            if count >= 0:
                return list(tokens[:count])
            size = -count

    def piece(self, token: int) -> bytes:
        """The bytes that a token prints; control tokens print nothing."""
        known = self._pieces.get(token)
        if known is None:
            buffer = ctypes.create_string_buffer(_PIECE_BYTES)
            length = lib.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, False)
            if length < 0:
                buffer = ctypes.create_string_buffer(-length)
                length = lib.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, False)
            known = self._pieces[token] = buffer.raw[: max(length, 0)]
        return known

    def ends(self, token: int) -> bool:
        """Whether this token ends a generation (EOS, EOT and their kin)."""
        return bool(lib.llama_vocab_is_eog(self.vocab, token))


def load_error(message: str) -> LoadError:
    """Sort the library's complaint: a file it can't read, an architecture it doesn't know, or no memory."""
    text = message.lower()
    if "unknown model architecture" in text or "unsupported" in text:
        return LoadError("unsupported_model", message)
    if "unable to allocate" in text or "failed to allocate" in text:
        return LoadError("load_failed", message)
    return LoadError("invalid_model_file", message)
