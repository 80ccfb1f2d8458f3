"""What chat and text completions share: the options around the prompt, and the work that they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from paddock_api.errors import Code, PaddockError
from paddock_runtime.jobs import GenerateWork, Served
from paddock_runtime.openai.fields import Fields
from paddock_runtime.openai.sampling import merge, read_sampling

MAX_CHOICES = 16
MAX_STOPS = 16  # OpenAI takes 4
MAX_STOP_CHARACTERS = 256
MAX_NEW_TOKENS = 10_000_000
MAX_GRAMMAR_BYTES = 64 << 10
MAX_NAME = 512


@dataclass(frozen=True, kw_only=True)
class Options:
    """`logprobs` counts the alternatives a token; None: none asked for. At most one of grammar and schema is set."""

    model: str
    stream: bool
    include_usage: bool
    choices: int
    max_tokens: int | None
    stop: list[str]
    sampling: Mapping[str, Any]
    logprobs: int | None
    grammar: str | None
    json_schema: str | None


def read_model(fields: Fields) -> str:
    model = fields.text("model", MAX_NAME, least=1)
    if model is None:
        raise fields.wrong("model", "is missing: name one of GET /v1/models")
    return model


def read_options(fields: Fields, *, logprobs: int | None) -> Options:
    """Raises PaddockError INVALID_REQUEST or UNSUPPORTED that names the field."""
    stream = fields.flag("stream") or False
    grammar, schema = _constraint(fields)
    return Options(
        model=read_model(fields),
        stream=stream,
        include_usage=_include_usage(fields, stream),
        choices=fields.integer("n", 1, MAX_CHOICES) or 1,
        max_tokens=_max_tokens(fields),
        stop=fields.texts("stop", count=MAX_STOPS, most=MAX_STOP_CHARACTERS, least=1) or [],
        sampling=read_sampling(fields),
        logprobs=logprobs,
        grammar=grammar,
        json_schema=schema,
    )


def generate_work(options: Options, prompt: str | list[int], served: Served) -> GenerateWork:
    """The engine's work, with the Model's defaults filled in. Raises PaddockError INVALID_REQUEST."""
    if served.facts.memory_class == "encoder":
        raise PaddockError(Code.INVALID_REQUEST, f"{options.model} only makes embeddings: use /v1/embeddings",
                           param="model")
    defaults = served.revision.spec.defaults
    sampling = merge(options.sampling, defaults)
    alien = next((token for token in sampling.logit_bias if token >= served.facts.vocabulary), None)
    if alien is not None:
        raise PaddockError(Code.INVALID_REQUEST, f"logit_bias names token {alien}, but {options.model} has only "
                           f"{served.facts.vocabulary} tokens", param="logit_bias")
    return GenerateWork(
        prompt=prompt,
        choices=options.choices,
        max_tokens=options.max_tokens if options.max_tokens is not None else defaults.max_tokens,
        sampling=sampling,
        stop=options.stop,
        logprobs=options.logprobs,
        grammar=options.grammar,
        json_schema=options.json_schema,
    )


def refuse(fields: Fields, name: str, remedy: str, *, allowed: tuple[Any, ...] = ()) -> None:
    """UNSUPPORTED if the field asks for something. Null, false, empty and `allowed` ask for nothing."""
    value = fields.get(name)
    if value in (None, False, "", [], {}) or value in allowed:
        return
    raise fields.wrong(name, f"is not supported: {remedy}", code=Code.UNSUPPORTED)


def _include_usage(fields: Fields, stream: bool) -> bool:
    options = fields.table("stream_options")
    if options is None:
        return False
    if not stream:
        raise fields.wrong("stream_options", "is only for streams: set stream to true or leave it out")
    return options.flag("include_usage") or False


def _max_tokens(fields: Fields) -> int | None:
    hint = "; leave it out for no limit but the context"
    newer = fields.integer("max_completion_tokens", 1, MAX_NEW_TOKENS, hint=hint)
    older = fields.integer("max_tokens", 1, MAX_NEW_TOKENS, hint=hint)
    return older if newer is None else newer


def _constraint(fields: Fields) -> tuple[str | None, str | None]:
    """GBNF and JSON Schema, of which a request may set one."""
    grammar = fields.text("grammar", MAX_GRAMMAR_BYTES) or None
    if grammar is not None and len(grammar.encode()) > MAX_GRAMMAR_BYTES:
        raise fields.wrong("grammar", f"may have at most {MAX_GRAMMAR_BYTES} bytes", code=Code.INVALID_GRAMMAR)
    schema = _schema(fields)
    if grammar is not None and schema is not None:
        raise fields.wrong("grammar", "and response_format exclude each other: keep one of them")
    return grammar, schema


def _schema(fields: Fields) -> str | None:
    form = fields.table("response_format")
    if form is None:
        return None
    kind = form.choice("type", "text", "json_object", "json_schema")
    if kind is None:
        raise form.wrong("type", "is missing: give text, json_object or json_schema")
    if kind == "text":
        return None
    holder = form
    if kind == "json_schema":
        inner = form.table("json_schema")
        if inner is None:
            raise form.wrong("json_schema", "is missing: give {\"name\": …, \"schema\": {…}}")
        holder = inner
    schema = holder.get("schema")
    if schema is None and kind == "json_object":
        schema = {"type": "object"}
    if not isinstance(schema, dict | bool):
        raise holder.wrong("schema", "must be a JSON Schema object")
    text = msgspec.json.encode(schema).decode()
    if len(text) > MAX_GRAMMAR_BYTES:
        raise holder.wrong("schema", f"may have at most {MAX_GRAMMAR_BYTES} characters as JSON, not {len(text)}",
                           code=Code.INVALID_GRAMMAR)
    return text
