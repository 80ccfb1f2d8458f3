"""From a command to something the decode thread can run: tokens, sampler, checks. Runs on the reader thread."""

from __future__ import annotations

from paddock_runtime.engine.llama.context import Context
from paddock_runtime.engine.llama.encoder import Embedding, pooling_problem
from paddock_runtime.engine.llama.grammar import GrammarRefused, check_gbnf, schema_to_gbnf
from paddock_runtime.engine.llama.sampling import GrammarFailed, Sampler
from paddock_runtime.engine.llama.sequences import Sequence
from paddock_runtime.engine.llama.text import TextStream
from paddock_runtime.engine.llama.weights import Weights
from paddock_runtime.engine.protocol import Embed, Generate, Sampling, Score


class Refused(Exception):
    """The request can't run. `code` is a word of `paddock_api.errors.Code`, `param` the field at fault."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


def tokens_of(weights: Weights, text: str | list[int], *, limit: int, param: str) -> list[int]:
    """The prompt as tokens. Raises Refused when it is empty, longer than `limit`, or holds tokens nobody knows."""
    if isinstance(text, str):
        tokens = weights.tokenize(text)
    else:
        tokens = text
        unknown = next((token for token in tokens if not 0 <= token < weights.vocabulary), None)
        if unknown is not None:
            raise Refused("invalid_request", f"{param}: token {unknown} is not in 0…{weights.vocabulary - 1}", param)
    if not tokens:
        raise Refused("invalid_request", f"{param} is empty: give at least one token of text", param)
    if len(tokens) > limit:
        raise Refused(
            "context_length_exceeded",
            f"{param} has {len(tokens)} tokens, this model takes {limit}: shorten it or raise "
            "spec.engine.contextLength of the Model", param)
    return tokens


def generation(command: Generate, context: Context) -> Sequence:
    """Raises Refused."""
    weights, length = context.weights, context.shape.context_length
    if context.shape.embeddings:
        raise Refused("unsupported", "this model makes embeddings, not text: ask /v1/embeddings", "model")
    # One place is kept for an answer: a prompt that fills the context could not be continued.
    tokens = tokens_of(weights, command.prompt, limit=length - 1, param="prompt")
    unknown = next((token for token in command.sampling.logit_bias if not 0 <= token < weights.vocabulary), None)
    if unknown is not None:
        raise Refused("invalid_request", f"logit_bias: token {unknown} is not in 0…{weights.vocabulary - 1}",
                      "logit_bias")
    room = length - len(tokens)
    most = room if command.max_tokens is None else min(command.max_tokens, room)
    return Sequence(
        id=command.id, salt=command.salt, shared=command.shared, background=command.background, tokens=list(tokens),
        most=most, sampler=_sampler(command, weights), text=TextStream(command.stop), logprobs=command.logprobs)


def _sampler(command: Generate, weights: Weights) -> Sampler:
    param = "grammar" if command.grammar is not None else "response_format"
    try:
        grammar = command.grammar
        if grammar is not None:
            check_gbnf(grammar)
        elif command.json_schema is not None:
            grammar = schema_to_gbnf(command.json_schema)
        return Sampler(weights, command.sampling, grammar=grammar)
    except (GrammarRefused, GrammarFailed) as error:
        raise Refused("invalid_grammar", f"{param}: {error}", param) from error


def scoring(command: Score, context: Context) -> Sequence:
    """A sequence that ends with its prompt. Raises Refused."""
    greedy = Generate(id=command.id, context=command.context, salt=command.salt, prompt=command.prompt, max_tokens=1,
                      sampling=Sampling(temperature=0.0))
    sequence = generation(greedy, context)
    sequence.scored = True
    return sequence


def embedding(command: Embed, context: Context) -> Embedding:
    """Raises Refused."""
    if not context.shape.embeddings:
        raise Refused("unsupported", "this model makes text, not embeddings: set spec.engine.embeddings to true in "
                                     "its Model, or ask another model", "model")
    problem = pooling_problem(context)
    if problem is not None:
        raise Refused("unsupported", problem, "model")
    limit = context.shape.context_length
    return Embedding(id=command.id, inputs=[tokens_of(context.weights, text, limit=limit, param="input")
                                            for text in command.inputs])
