"""`spec.verify`: what a new revision must get right before requests go to it."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from paddock_api.fields import Spec
from paddock_api.json_check import check_schema
from paddock_api.patterns import Pattern

MAX_CHECKS = 16
MAX_SCHEMA_BYTES = 16_384
DEFAULT_TOKENS = 64

_DEMANDS = ("contains", "matches", "schema", "maxDistance")
_ONE_DEMAND = "give exactly one of contains, matches, schema, maxDistance"
_ONE_PROMPT = "give exactly one of prompt and messages"


class Demand(StrEnum):
    """What kind of check it is, by the field that is set."""

    CONTAINS = "contains"
    MATCHES = "matches"
    SCHEMA = "schema"
    DISTANCE = "maxDistance"


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Message(Spec):
    """One message of a chat."""

    role: Annotated[Role, Field(description="Who speaks: system, user or assistant.")]
    content: Annotated[str, Field(max_length=4096, description="What is said.")]


class Check(Spec):
    """One prompt, and what must hold of the answer (always the likeliest tokens, without the Model's defaults) or of
    the logits at the end of the prompt."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("has(self.prompt) != has(self.messages)", _ONE_PROMPT),
        (f"[{', '.join(f'has(self.{name})' for name in _DEMANDS)}].filter(set, set).size() == 1", _ONE_DEMAND),
    )

    prompt: Annotated[str | None, Field(min_length=1, max_length=8192, description=(
        "Text to go on from, as it stands: no template and no system prompt."))] = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=8, description=(
        "A chat, rendered by the Model's template, after its defaults.systemPrompt."))] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=256, description=(
        "Most tokens of the answer. maxDistance needs no answer."))] = DEFAULT_TOKENS
    contains: Annotated[str | None, Field(min_length=1, max_length=4096, description=(
        "Text that must occur in the answer, letter for letter."))] = None
    matches: Annotated[str | None, Field(min_length=1, max_length=1024, description=(
        "Regular expression that must match somewhere in the answer; ^ and $ are its ends. Groups, classes, | and "
        "counted repetition; no backreferences and no lookaround, so that matching takes linear time."))] = None
    json_schema: Annotated[dict[str, Any] | None, Field(alias="schema", description=(
        "JSON Schema. The whole answer, without blanks at its ends, must be JSON that is valid under it; nothing "
        "forces the model to. Keywords: type, enum, const, properties, required, additionalProperties, items, "
        "minItems, maxItems, minLength, maxLength, pattern, minimum, maximum, exclusiveMinimum, exclusiveMaximum, "
        "anyOf, oneOf, allOf; at most 16 KiB."))] = None
    max_distance: Annotated[float | None, Field(gt=0, le=0.6931471805599453, description=(
        "Most distance between the next-token distributions of the new and the active revision at the end of the "
        "prompt: the Jensen-Shannon divergence of the softmaxes of the logits at temperature 1, in nats. 0 is equal, "
        "0.693 (ln 2) has nothing in common. Equal weights may differ by 0.005, for their batch is another; measured "
        "on Gemma 3 270M, Q4_K_M is 0.006 from Q8_0 and Q2_K 0.2. Without an active revision in memory there is "
        "nothing to compare with, and the check passes."))] = None

    @property
    def demand(self) -> Demand:
        return next(kind for kind in Demand if getattr(self, _ATTRIBUTES[kind]) is not None)

    @field_validator("matches")
    @classmethod
    def _a_pattern(cls, text: str | None) -> str | None:
        if text is not None:
            Pattern(text)
        return text

    @field_validator("json_schema")
    @classmethod
    def _a_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None:
            check_schema(schema)
            if len(json.dumps(schema)) > MAX_SCHEMA_BYTES:
                raise ValueError(f"the schema has more than {MAX_SCHEMA_BYTES} bytes as JSON; make it smaller")
        return schema

    @model_validator(mode="after")
    def _one_of_each(self) -> Check:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError(_ONE_PROMPT)
        if sum(getattr(self, name) is not None for name in _ATTRIBUTES.values()) != 1:
            raise ValueError(_ONE_DEMAND)
        return self


_ATTRIBUTES = {Demand.CONTAINS: "contains", Demand.MATCHES: "matches", Demand.SCHEMA: "json_schema",
               Demand.DISTANCE: "max_distance"}
