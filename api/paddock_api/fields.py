"""The base of all custom resource types, and field types with their limits."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
)
from pydantic.alias_generators import to_camel


class Spec(BaseModel):
    """camelCase on the wire, unknown fields refused, immutable. It remembers which fields were set and writes out
    only those: what a user wrote comes back as written, and a default added later changes no document."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True,
                              serialize_by_alias=True, extra="forbid", frozen=True, allow_inf_nan=False)

    # Admission rules: (CEL, message). The API server runs them; each has its twin in a validator of the same class.
    rules: ClassVar[tuple[tuple[str, str], ...]] = ()
    # Rules on a change (they read oldSelf). Only the API server sees changes, so they have no twin.
    transition_rules: ClassVar[tuple[tuple[str, str], ...]] = ()

    @model_serializer(mode="wrap")
    def _only_what_was_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        kept = {key for name in self.model_fields_set for key in (name, fields[name].alias)}
        return {key: value for key, value in handler(self).items() if key in kept and value is not None}


class Status(BaseModel):
    """Base of what controllers write: as Spec, but a field that this version does not know is let go by,
    so that an older reader survives a newer writer."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True,
                              serialize_by_alias=True, extra="ignore", frozen=True, allow_inf_nan=False)


_DURATION = r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=253)]
Alias = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9._:]*[A-Za-z0-9])?$", min_length=1, max_length=253)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", min_length=64, max_length=64)]
Duration = Annotated[str, StringConstraints(pattern=_DURATION, min_length=2, max_length=21)]
DnsLabel = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)]
_LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
LabelKey = Annotated[str, StringConstraints(pattern=_LABEL_KEY, min_length=1, max_length=317)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^/?#\\\x00-\x20]+[^\\\x00-\x20]*$", max_length=2048)]
Tokens = Annotated[int, Field(ge=1, le=10_000_000)]

# What the patterns mean, for people who meet them in an error message.
PATTERN_HELP: dict[str, str] = {
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$":
        "use lower-case letters, digits, '-' and '.', with a letter or digit at both ends",
    r"^[A-Za-z0-9]([-A-Za-z0-9._:]*[A-Za-z0-9])?$":
        "use letters, digits and '-._:', with a letter or digit at both ends; '/' is not allowed",
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$":
        "use lower-case letters, digits and '-', with a letter or digit at both ends",
    r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$":
        "use letters, digits and '-_.', with a letter or digit at both ends",
    _LABEL_KEY: "give a label key, such as example.com/team",
    r"^[0-9a-f]{64}$": "give the 64 lower-case hex digits that sha256sum prints",
    _DURATION: "give hours, minutes, seconds in this order, such as 30s, 5m, 1h30m or 0s",
    r"^https?://[^/?#\\\x00-\x20]+[^\\\x00-\x20]*$":
        "give a URL that starts with http:// or https:// and a host; percent-encode spaces and backslashes",
    r"^[^\x00-\x1f\x7f]+$": "give a file path without control characters",
    r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$": "give owner/repository, such as ggml-org/gemma-3-270m-GGUF",
}


_KEYS_HELP = "use keys such as example.com/team: letters, digits and '-_.', after a domain name and '/' if need be"


def _label_keys(value: dict[str, Any]) -> dict[str, Any]:
    wrong = sorted(key for key in value if re.fullmatch(_LABEL_KEY, key, re.ASCII) is None)
    if wrong:
        raise ValueError(f"{_KEYS_HELP} (not {wrong[0][:80]!r})")
    return value


# On a dictionary: its keys are such as Kubernetes takes for labels, annotations and resources.
LabelKeys = (AfterValidator(_label_keys), Field(json_schema_extra={"x-kubernetes-validations": [
    {"rule": f"self.all(key, key.matches('{_LABEL_KEY}'))", "message": _KEYS_HELP}]}))
Labels = Annotated[dict[str, LabelValue], Field(max_length=32), *LabelKeys]
Annotations = Annotated[dict[str, Annotated[str, Field(max_length=16384)]], Field(max_length=32), *LabelKeys]


def _no_duplicates(value: list[Any]) -> list[Any]:
    twice = sorted({str(item) for item in value if value.count(item) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is listed twice; remove one")
    return value


# On a list: each item once.
AsSet = (AfterValidator(_no_duplicates), Field(json_schema_extra={"x-kubernetes-list-type": "set"}))


def parse_duration(text: str) -> float:
    """Seconds in a Duration such as `1h30m`; `0s` is 0.0. Raises ValueError."""
    match = re.fullmatch(_DURATION, text, re.ASCII)
    if match is None or not any(match.groups()):
        raise ValueError(f"{text!r} is not a duration; {PATTERN_HELP[_DURATION]}")
    hours, minutes, seconds = (int(part[:-1]) if part else 0 for part in match.groups())
    return float(hours * 3600 + minutes * 60 + seconds)
