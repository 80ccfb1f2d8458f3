"""`POST /v1/completions`: a prompt as it is, as text or as token ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paddock_api.errors import Code
from paddock_runtime.openai.fields import Fields, show
from paddock_runtime.openai.generation import Options, read_options, refuse

MAX_LOGPROBS = 20  # OpenAI takes 5
_MAX_TOKEN_ID = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class CompletionRequest:
    options: Options
    prompt: str | list[int]


def read_completion(body: dict[str, Any]) -> CompletionRequest:
    """Raises PaddockError INVALID_REQUEST or UNSUPPORTED that names the field."""
    fields = Fields(body)
    refuse(fields, "echo", "the prompt is not repeated; leave it out")
    refuse(fields, "suffix", "only continuations are made; leave it out")
    options = read_options(fields, logprobs=fields.integer("logprobs", 0, MAX_LOGPROBS))
    best_of = fields.integer("best_of", 1, 1000)
    if best_of is not None and best_of != options.choices:
        raise fields.wrong("best_of", "is not supported: ask for the answers with n", code=Code.UNSUPPORTED)
    return CompletionRequest(options=options, prompt=_prompt(fields))


def is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)


def check_tokens(fields: Fields, name: str, tokens: list[int]) -> list[int]:
    if min(tokens) < 0 or max(tokens) > _MAX_TOKEN_ID:
        raise fields.wrong(name, f"must hold token ids from 0 to {_MAX_TOKEN_ID}")
    return tokens


def _prompt(fields: Fields) -> str | list[int]:
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and not is_tokens(prompt):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return prompt
    if is_tokens(prompt):
        return check_tokens(fields, "prompt", prompt)
    if isinstance(prompt, list) and len(prompt) > 1 and all(isinstance(item, str | list) for item in prompt):
        raise fields.wrong("prompt", f"holds {len(prompt)} prompts: send one request for each, they run side by side",
                           code=Code.UNSUPPORTED)
    raise fields.wrong("prompt", f"must be a string or a list of token ids, not {show(prompt)}")
