"""Where a Model's weights come from."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from paddock_api.fields import DnsLabel, Name, Sha256, Spec, Url
from paddock_api.paths import safe_relative

_QUANT = "Quantization to pick among the repository's files by its tag, such as Q4_K_M; case does not matter."
Quant = Annotated[str, Field(min_length=1, max_length=64, description=_QUANT)]


def _must_be_safe(field: str, name: str) -> None:
    try:
        safe_relative(name)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None


class FileSource(Spec):
    """A GGUF file on a volume of the pool; without `volume`, a path on this machine (only for `paddock serve`)."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!has(self.volume) || !(self.path.startsWith('/') || self.path.matches('(^|/)[.]{1,2}(/|$)'))",
         "path: give a path inside the volume, relative and without '.' or '..'"),
    )

    path: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=1024, description=(
        "Path of the GGUF file: inside the volume, or without a volume relative to the manifest's folder. Of a file in "
        "shards (-00001-of-0000N.gguf) name the first."))]
    volume: Annotated[Name | None, Field(description=(
        "Name of one of the pool's spec.volumes. The pool's owner decides which volumes Models may name."))] = None
    sha256: Annotated[Sha256 | None, Field(description=(
        "Expected digest of the file. When it is set, a file that differs is never loaded."))] = None

    @model_validator(mode="after")
    def _inside_the_volume(self) -> FileSource:
        if self.volume is not None:
            _must_be_safe("path", self.path)
        return self


class HttpSource(Spec):
    """A GGUF file at an http or https address."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!self.url.matches('^https?://[^/?#]*@')",
         "url: remove the user name and password; a URL is shown in logs and status"),
    )

    url: Annotated[Url, Field(description=(
        "Address of the file, without credentials."))]
    sha256: Annotated[Sha256, Field(description=(
        "Digest that the file must have. It is checked before the file becomes visible to any engine."))]

    @model_validator(mode="after")
    def _no_credentials(self) -> HttpSource:
        authority = self.url.split("://", 1)[1].split("/", 1)[0].split("?", 1)[0].split("#", 1)[0]
        if "@" in authority:
            raise ValueError(self.rules[0][1])
        return self


class HuggingFaceSource(Spec):
    """A GGUF file in a repository of the Hugging Face Hub: named by `file`, or picked by `quant`."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!(has(self.file) && has(self.quant))", "set file or quant, not both: file names one file, quant picks one"),
        ("!has(self.file) || !(self.file.startsWith('/') || self.file.matches('(^|/)[.]{1,2}(/|$)'))",
         "file: give a path inside the repository, relative and without '.' or '..'"),
    )

    repo: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", max_length=200, description=(
        "Repository as owner/name."))]
    file: Annotated[str, Field(min_length=1, max_length=1024, description=(
        "Path of the file in the repository. Of a file in shards name the first."))] | None = None
    quant: Annotated[Quant | None, Field(description=(
        f"{_QUANT} With neither file nor quant: Q4_K_M, else Q8_0, else the first GGUF file."))] = None
    revision: Annotated[str, Field(min_length=1, max_length=255, description=(
        "Branch, tag or commit. A branch is pinned to its commit when it is first resolved; spec.updatePolicy says "
        "whether it then follows."))] = "main"
    credential: Annotated[DnsLabel | None, Field(max_length=50, description=(
        "Name of one of the pool's spec.credentials, for a private or gated repository or another hub. The pool's "
        "owner decides which credentials Models may name. Not set: the public hub, without a token."))] = None

    @model_validator(mode="after")
    def _one_file(self) -> HuggingFaceSource:
        if self.file is not None and self.quant is not None:
            raise ValueError(self.rules[0][1])
        if self.file is not None:
            _must_be_safe("file", self.file)
        return self


class HubSource(Spec):
    """An entry of a ModelHub's catalog in the Model's namespace."""

    name: Annotated[Name, Field(description="Name of the ModelHub.")]
    model: Annotated[str, Field(min_length=1, max_length=200, description="The entry, as the catalog names it.")]
    quant: Annotated[Quant | None, Field(description=_QUANT)] = None


class Source(Spec):
    """Where the weights come from: exactly one of the four."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("[has(self.huggingFace), has(self.http), has(self.file), has(self.hub)].filter(given, given).size() == 1",
         "set exactly one of huggingFace, http, file, hub"),
    )

    hugging_face: Annotated[HuggingFaceSource | None, Field(description=(
        "A GGUF file in a repository of the Hugging Face Hub: named by file, or picked by quant."))] = None
    http: Annotated[HttpSource | None, Field(description="A GGUF file at an http or https address.")] = None
    file: Annotated[FileSource | None, Field(description=(
        "A GGUF file on a volume of the pool; without volume, a path on this machine (paddock serve)."))] = None
    hub: Annotated[HubSource | None, Field(description="An entry of a ModelHub's catalog.")] = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Source:
        fields = type(self).model_fields
        given = [fields[name].alias or name for name in fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"{self.rules[0][1]} (set: {', '.join(given) or 'none'})")
        return self
