"""Names. A Model is known by namespace and name, everywhere and always; a bare name is only what a client types."""

from __future__ import annotations

from typing import NamedTuple


class ModelId(NamedTuple):
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> ModelId:
        """From `namespace/name`. Raises ValueError."""
        namespace, slash, name = text.partition("/")
        if not slash or not namespace or not name or "/" in name:
            raise ValueError(f"{text!r} is not namespace/name")
        return cls(namespace, name)
