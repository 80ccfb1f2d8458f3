"""What is wrong with a manifest, and where."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ConfigProblem:
    """`file` is a name in the directory (empty: itself), `document` counts from 1, `field` is a path in it."""

    file: str
    document: int | None
    field: str | None
    message: str

    def __str__(self) -> str:
        file = self.file.encode("utf-8", "backslashreplace").decode()  # a name may be no text; what shows it must be
        place = file if self.document is None else f"{file}, document {self.document}"
        return ": ".join(part for part in (place, self.field, self.message) if part)
