"""What a supervisor and an engine child say to each other over their socket pair.

A frame (frames.py) holds one msgpack message. The messages are tagged structs: `Command`s go to the child, `Report`s
come from it. Nothing here knows which engine type answers.

Life of a child: `Hello` → (`Load` → `Progress`* → `Loaded` | `LoadFailed`) →
(`OpenContext` → `ContextOpened` | `ContextFailed`)* → work. The child ends when its socket closes.
"""

from __future__ import annotations

import msgspec

from paddock_runtime.engine.frames import ProtocolError, frame

PROTOCOL_VERSION = 1


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", omit_defaults=True):
    """Base of all messages."""


# --- what the supervisor asks -----------------------------------------------------------------


class Load(Message, frozen=True, tag="load"):
    """Map the weights. `paths` holds the shards in order; `options` belong to the engine type."""

    paths: list[str]
    gpu_layers: int = 0
    threads: int = 1
    options: dict[str, str] = {}


class ContextOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What two Models must agree on to share a context. Zero means: the engine's choice for these weights."""

    context_length: int = 0
    cache_tokens: int = 0
    parallel: int = 0
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    sliding_window_full: bool = True
    embeddings: bool = False
    pooling: str = ""
    adapters: dict[str, float] = {}


class PromptFolder(msgspec.Struct, frozen=True, kw_only=True):
    """Where idle prompts of a context are kept for later loads. `key` names weights and options: nothing is taken over
    from another one. Prompts of `least_tokens` and more are written within `write_seconds` of becoming idle; all
    files in `folder`, whoever's, take `budget_bytes` at most."""

    folder: str
    key: str
    budget_bytes: int
    write_seconds: float
    least_tokens: int


class OpenContext(Message, frozen=True, tag="open"):
    context: int
    options: ContextOptions
    prompts: PromptFolder | None = None


class CloseContext(Message, frozen=True, tag="close"):
    context: int


class Threads(Message, frozen=True, tag="threads"):
    """From the next step on, compute with this many threads."""

    count: int


class Sampling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request's sampler chain. Off is: temperature 0 = greedy, top_k 0, top_p 1, min_p 0, penalties 0, repeat 1."""

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    seed: int | None = None
    logit_bias: dict[int, float] = {}
    ignore_eos: bool = False


class Generate(Message, frozen=True, tag="gen"):
    """One sequence. `n` choices are n of these with one prompt, sent together: the prefix cache makes them one prefill.

    `salt` keeps prefixes of different Models and tenants apart; those kept under `shared` (the Model's own) may be used
    too, if it is set. `background`: nobody waits for it, so it is computed while nothing else is. `grammar` is GBNF,
    `json_schema` a JSON Schema document as text; at most one of them is set.
    """

    id: int
    context: int
    salt: str
    prompt: str | list[int]
    max_tokens: int | None = None
    sampling: Sampling = Sampling()
    stop: list[str] = []
    logprobs: int | None = None
    grammar: str | None = None
    json_schema: str | None = None
    shared: str = ""
    background: bool = False


class Embed(Message, frozen=True, tag="embed"):
    """Embed every input; the answer keeps their order."""

    id: int
    context: int
    inputs: list[str | list[int]]


class Score(Message, frozen=True, tag="score"):
    """Compute a prompt and report the logits at its end. Nothing of it is kept."""

    id: int
    context: int
    salt: str
    prompt: str | list[int]


class Cancel(Message, frozen=True, tag="cancel"):
    """Forget a request. The child answers nothing more about it, from the next step on."""

    id: int


class Pause(Message, frozen=True, tag="pause"):
    """The reader of this request is slow: compute no further tokens for it until `Resume`."""

    id: int


class Resume(Message, frozen=True, tag="resume"):
    id: int


class Trim(Message, frozen=True, tag="trim"):
    """Memory is short: let go of what only speeds up later requests (idle prefixes, freed heap). `Stats` follow."""


class Inspect(Message, frozen=True, tag="inspect"):
    """Ask for `Stats` now."""


Command = (Load | OpenContext | CloseContext | Threads | Generate | Embed | Score | Cancel | Pause | Resume | Trim
           | Inspect)


# --- what the child reports -------------------------------------------------------------------


class Hello(Message, frozen=True, tag="hello"):
    protocol: int
    engine: str
    version: str


class Progress(Message, frozen=True, tag="progress"):
    """`fraction` of the load, 0…1."""

    fraction: float


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine knows of loaded weights. `memory_class`: full | sliding | recurrent | hybrid | encoder."""

    architecture: str
    memory_class: str
    description: str
    parameters: int
    weights_bytes: int
    trained_context: int
    embedding_length: int
    vocabulary: int
    pooling: str
    chat_template: str | None
    bos_token: str
    eos_token: str
    add_bos: bool


class Loaded(Message, frozen=True, tag="loaded"):
    facts: ModelFacts
    seconds: float


class LoadFailed(Message, frozen=True, tag="load_failed"):
    """`code` is a word of `paddock_api.errors.Code`. The child ends after this."""

    code: str
    message: str


class ContextOpened(Message, frozen=True, tag="opened"):
    context: int
    context_length: int
    cache_tokens: int
    parallel: int
    cache_bytes: int
    compute_bytes: int


class ContextFailed(Message, frozen=True, tag="open_failed"):
    context: int
    code: str
    message: str


class ContextClosed(Message, frozen=True, tag="closed"):
    context: int


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    text: str
    data: bytes
    logprob: float


class PositionLogprobs(msgspec.Struct, frozen=True, array_like=True):
    chosen: TokenLogprob
    top: list[TokenLogprob]


class Usage(msgspec.Struct, frozen=True, array_like=True):
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """New text of one sequence. `finish` ("stop" | "length") and `usage` come with its last delta.

    `stopped_by` is the stop string that ended it, if one did.
    """

    id: int
    text: str
    tokens: int = 0
    logprobs: list[PositionLogprobs] | None = None
    finish: str | None = None
    usage: Usage | None = None
    stopped_by: str | None = None


class Step(Message, frozen=True, tag="step"):
    """All text that one decode step brought. `number` counts the decode thread's steps."""

    number: int
    deltas: list[Delta]


class Started(Message, frozen=True, tag="started"):
    """A sequence got its place: its prompt has this many tokens, of which so many need no computing."""

    id: int
    prompt_tokens: int
    cached_tokens: int


class Rejected(Message, frozen=True, tag="rejected"):
    """A request that cannot be run. `code` is a word of `paddock_api.errors.Code`; `param` names the field."""

    id: int
    code: str
    message: str
    param: str | None = None


class Embedded(Message, frozen=True, tag="embedded"):
    """`vectors`: little-endian float32, `dimensions` each; `tokens` counts all inputs."""

    id: int
    vectors: list[bytes]
    dimensions: int
    tokens: int


class Scored(Message, frozen=True, tag="scored"):
    """`logits` of the token after the prompt: little-endian float32, one for each token of the vocabulary."""

    id: int
    logits: bytes


class ContextStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counters since the context opened, gauges of now. Cells are KV cells (full attention and sliding window)."""

    context: int
    live: int
    waiting: int
    idle_prefixes: int
    cells_used: int
    cells_total: int
    prompt_tokens_evaluated: int
    prompt_tokens_reused: int
    tokens_generated: int
    preemptions: int
    prefix_evictions: int
    prompts_written: int = 0
    prompts_restored: int = 0
    prompts_refused: int = 0


class Stats(Message, frozen=True, tag="stats"):
    """Sent each second and on `Inspect`. `step` and `busy` tell the watchdog a stuck decode thread from an idle one."""

    step: int
    busy: bool
    contexts: list[ContextStats]


class Notice(Message, frozen=True, tag="notice"):
    """Something that the log should say. Nothing failed for a client."""

    message: str


Report = (
    Hello
    | Progress
    | Loaded
    | LoadFailed
    | ContextOpened
    | ContextFailed
    | ContextClosed
    | Step
    | Started
    | Rejected
    | Embedded
    | Scored
    | Stats
    | Notice
)

_encoder = msgspec.msgpack.Encoder()
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def encode(message: Message) -> bytes:
    """One message as a frame. Raises ProtocolError if it is too large."""
    return frame(_encoder.encode(message))


def decode_command(payload: bytes) -> Command:
    """The command in a frame's payload. Raises ProtocolError."""
    try:
        return _commands.decode(payload)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"not a command: {error}") from error


def decode_report(payload: bytes) -> Report:
    """The report in a frame's payload. Raises ProtocolError."""
    try:
        return _reports.decode(payload)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"not a report: {error}") from error
