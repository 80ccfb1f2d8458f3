"""Which files of a repository a source means. Pure.

The rules are llama.cpp's for `-hf repo:TAG`: a tag is followed by `.` or `-`, in any case; without one Q4_K_M, then
Q8_0, then the first; what goes along with models (projectors, importance matrices, draft models) is none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from paddock_api.errors import Code, PaddockError
from paddock_api.paths import safe_relative
from paddock_operator.hub.answers import FILE, REPO
from paddock_operator.hub.documents import RepoFile
from paddock_operator.resolve.shards import all_shards, shard_of

QUANT = "source.huggingFace.quant"
DEFAULT_QUANTS = ("Q4_K_M", "Q8_0")
_MOST_SHOWN = 12
_MOST_COMPARED = 2000
_COMPANION = re.compile(r"(?i:mmproj|imatrix)|mtp-|eagle3-|dflash-|dspark-|(?i:(?<![a-z])draft(?![a-z]))")
# A quant in a file's name, for messages: UD-Q4_K_XL, IQ3_XXS, BF16, MXFP4_MOE.
_SHOWN_QUANT = re.compile(r"(?<![A-Za-z0-9])((?:UD-)?(?:I?Q\d|TQ\d|BF16|F16|F32|MXFP4|NVFP4)[A-Za-z0-9_]*)(?=[.-])",
                          re.IGNORECASE)


def choose(repo: str, files: Sequence[RepoFile], *, file: str | None, quant: str | None) -> list[RepoFile]:
    """The files, all shards in order. Raises PaddockError SOURCE_NOT_FOUND and SOURCE_REFUSED.

    Names may come from strangers: what is returned is safe to join to a path, and to show."""
    known = {each.rfilename: each for each in files}
    first = file if file is not None else _pick(repo, sorted(known), quant)
    param = FILE if file is not None else QUANT if quant is not None else REPO
    if first not in known:
        raise _not_there(repo, first, known)
    try:
        safe_relative(first)
        names = all_shards(first)
    except ValueError as error:
        raise PaddockError(Code.SOURCE_REFUSED, f"{repo}: {error}", param=param) from None
    missing = [name for name in names if name not in known]
    if missing:
        raise PaddockError(Code.SOURCE_NOT_FOUND, f"{repo} lacks {len(missing)} of the {len(names)} shards of "
                           f"{first!r}: {_listed(missing)}; name another file", param=param)
    return [_verifiable(repo, known[name], param) for name in names]


def is_model(path: str) -> bool:
    """Whether a file holds a model, or its first shard, by its name."""
    shard = shard_of(path)
    return (path.lower().endswith(".gguf") and _COMPANION.search(path.rpartition("/")[2]) is None
            and (shard is None or shard.number == 1))


def has_quant(path: str, tag: str) -> bool:
    """Whether the tag stands in the path as a whole: Q4_0 is not in IQ4_0, nor Q2_K in Q2_K_L, nor F16 in BF16."""
    return re.search(rf"(?<![ITB]){re.escape(tag)}[.-]", path, re.IGNORECASE) is not None


def _pick(repo: str, paths: Iterable[str], quant: str | None) -> str:
    models = [path for path in paths if is_model(path)]
    if not models:
        raise PaddockError(Code.SOURCE_NOT_FOUND, f"{repo} has no GGUF model: name a repository with .gguf files, "
                           "which often ends in -GGUF", param=REPO)
    for tag in DEFAULT_QUANTS if quant is None else (quant,):
        found = next((path for path in models if has_quant(path, tag)), None)
        if found is not None:
            return found
    if quant is None:
        return models[0]
    quants = sorted({match[1] for path in models for match in _SHOWN_QUANT.finditer(path)}, key=str.upper)
    there = f"it has {_listed(quants, quoted=False)}" if quants else f"name one of its files: {_listed(models)}"
    raise PaddockError(Code.SOURCE_NOT_FOUND, f"{repo} has no file of the quant {quant!r}; {there}", param=QUANT)


def _not_there(repo: str, file: str, known: Iterable[str]) -> PaddockError:
    models = [path for path in sorted(known) if path.lower().endswith(".gguf")][:_MOST_COMPARED]
    near = get_close_matches(file, models, n=3, cutoff=0.5) or models
    hint = f"did you mean {_listed(near)}" if near else "and no other .gguf file"
    return PaddockError(Code.SOURCE_NOT_FOUND, f"{repo} has no file {file!r}; {hint}", param=FILE)


def _verifiable(repo: str, file: RepoFile, param: str) -> RepoFile:
    if file.lfs is None:
        raise PaddockError(Code.SOURCE_REFUSED, f"{repo}: the hub names no sha256 for {file.rfilename!r}, since it is "
                           "not stored with LFS, so no copy could be proven whole; use source.http with its sha256",
                           param=param)
    return file


def _listed(names: Sequence[str], *, quoted: bool = True) -> str:
    shown = [repr(name[:200]) if quoted else name for name in names[:_MOST_SHOWN]]
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(shown) + more
