"""Prompt caches on disk: one file a kept sequence, under a budget that all children of a pod share.

`ROOT/<digest of the context's key>/<digest of the Model>-<digest of salt and tokens>.prompt`: names and headers tell
apart whose a file is, without telling who that is. A file is magic, header length, header, state, and the SHA-256
of all before. All that changes the folder holds its lock, so that the budget is never exceeded, and a temporary
file that somebody else finds belongs to nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
import struct
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

FORMAT = 1
_MAGIC = b"paddock\x01"
_LENGTH = struct.Struct("<I")
_START = len(_MAGIC) + _LENGTH.size
_DIGEST_BYTES = 32
_MOST_REST = 4096  # of a file beside its tokens and its state
_MOST_HEADER = 8 << 20  # two million tokens
_SUFFIX, _TEMPORARY = ".prompt", ".new"
_LOCK_SECONDS = 1.0  # for another child to end its write
_counter = itertools.count()


class BadFile(Exception):
    """The file is not what its place says: the text tells why."""


class Busy(OSError):
    """Another process holds the folder for longer than a write takes."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """`engine` is a version; `owner` and `salt` are digests; `tokens` are int32, little-endian."""

    format: int
    engine: str
    key: str
    owner: str
    salt: str
    tokens: bytes
    state_bytes: int

    @property
    def count(self) -> int:
        return len(self.tokens) // 4


@dataclass(frozen=True, slots=True)
class PromptFile:
    """`used`: when it was written or last restored, nanoseconds since 1970."""

    path: Path
    header: Header
    used: int


def digest(*parts: str) -> str:
    """A name that can be compared and not be read."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def packed(tokens: Sequence[int]) -> bytes:
    """Tokens as they are kept and compared."""
    return array("i", tokens).tobytes()


class PromptStore:
    """The files of one context. `key` names weights and options, `engine` the version that wrote their states."""

    def __init__(self, root: Path, key: str, engine: str, *, budget_bytes: int) -> None:
        self._root, self._key, self._engine, self._budget = root, digest(key), engine, budget_bytes
        self._folder = root / self._key

    def index(self, *, most_files: int, most_bytes: int) -> tuple[list[PromptFile], list[str]]:
        """The headers of the files last used, newest first, and what is wrong with others, which are deleted.

        `most_bytes` of tokens are kept at most: the rest stays on disk unseen."""
        found, problems, tokens = list[PromptFile](), list[str](), 0
        for _, _, path in sorted(_files(self._folder), reverse=True)[:most_files]:
            try:
                header, used = _read_header(path), path.stat().st_mtime_ns
                self._check(header)
            except FileNotFoundError:
                continue
            except BadFile as error:
                problems.append(f"{path.name}: {error}")
                path.unlink(missing_ok=True)
                continue
            tokens += len(header.tokens)
            if tokens > most_bytes:
                break
            found.append(PromptFile(path, header, used))
        return found, problems

    def write(self, *, owner: str, salt: str, tokens: bytes, state: bytes | bytearray) -> PromptFile | None:
        """None when it alone exceeds the budget. The least recently used files of all contexts make room.

        Raises OSError."""
        header = Header(format=FORMAT, engine=self._engine, key=self._key, owner=digest(owner), salt=digest(salt),
                        tokens=tokens, state_bytes=len(state))
        encoded = msgspec.msgpack.encode(header)
        start = _MAGIC + _LENGTH.pack(len(encoded)) + encoded
        size = len(start) + len(state) + _DIGEST_BYTES
        if size > self._budget or len(encoded) > _MOST_HEADER:
            return None
        hashed = hashlib.sha256(start)
        hashed.update(state)
        path = self._path(header)
        temporary = self._folder / f"{os.getpid()}-{next(_counter)}{_TEMPORARY}"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self._root):
            _tidy(self._root, lambda context, owner: True, most=self._budget - size)
            self._folder.mkdir(mode=0o700, exist_ok=True)
            try:
                with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0) as file:
                    for part in (start, state, hashed.digest()):
                        _write_all(file.fileno(), part)
                temporary.rename(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        return PromptFile(path, header, path.stat().st_mtime_ns)

    def load(self, file: PromptFile) -> memoryview:
        """The state, checked whole. Raises BadFile (the file is deleted then), OSError when it is gone."""
        try:
            if file.path.stat().st_size > _START + len(file.header.tokens) + file.header.state_bytes + _MOST_REST:
                raise BadFile("it is longer than its header says")
            data = file.path.read_bytes()
            header, start = _parse(data)
            body = memoryview(data)[:-_DIGEST_BYTES]
            if len(body) != start + header.state_bytes:
                raise BadFile(f"it has {len(data)} bytes, not what its header says")
            if hashlib.sha256(body).digest() != data[-_DIGEST_BYTES:]:
                raise BadFile("its SHA-256 is not that of its content")
            self._check(header)
            if header != file.header:
                raise BadFile("it is another's")
        except BadFile:
            file.path.unlink(missing_ok=True)
            raise
        with contextlib.suppress(OSError):
            os.utime(file.path)
        return body[start:]

    def delete(self, file: PromptFile) -> None:
        file.path.unlink(missing_ok=True)

    def _check(self, header: Header) -> None:
        for name, is_, should in (("format", header.format, FORMAT), ("engine", header.engine, self._engine),
                                  ("key", header.key, self._key)):
            if is_ != should:
                raise BadFile(f"its {name} is {is_!r:.80}, not {should!r:.80}")

    def _path(self, header: Header) -> Path:
        name = hashlib.sha256(header.salt.encode() + header.tokens).hexdigest()[:32]
        return self._folder / f"{header.owner}-{name}{_SUFFIX}"


def sweep(root: Path, keeps: Callable[[str, str], bool], *, budget_bytes: int) -> int:
    """Deletes what `keeps` (digests of a context's key and of a Model) does not want, what a crash left, and what
    exceeds the budget. The number of files deleted. Raises OSError."""
    if not root.exists():
        return 0
    with _locked(root):
        return _tidy(root, keeps, most=budget_bytes)


def _tidy(root: Path, keeps: Callable[[str, str], bool], *, most: int) -> int:
    """Call it with the lock held."""
    kept, gone = list[tuple[int, int, Path]](), list[Path]()
    for folder in [Path(entry.path) for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)]:
        for entry in os.scandir(folder):
            if entry.name.endswith(_TEMPORARY):
                os.unlink(entry.path)
        for file in _files(folder):
            if keeps(folder.name, file[2].name.partition("-")[0]):
                kept.append(file)
            else:
                gone.append(file[2])
    kept.sort()
    total = sum(size for _, size, _ in kept)
    for _, size, path in kept:
        if total <= most:
            break
        total -= size
        gone.append(path)
    for path in gone:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()  # if that was its last
    return len(gone)


def _files(folder: Path) -> list[tuple[int, int, Path]]:
    """(last used, size, path) of each."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with contextlib.suppress(FileNotFoundError):
                if entry.name.endswith(_SUFFIX):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, status.st_size, Path(entry.path)))
    return found


def _read_header(path: Path) -> Header:
    with path.open("rb") as file:
        start = file.read(_START)
        length = _LENGTH.unpack(start[len(_MAGIC):])[0] if len(start) == _START else 0
        return _parse(start + file.read(min(length, _MOST_HEADER)))[0]


def _parse(data: bytes) -> tuple[Header, int]:
    """The header, and where the state starts."""
    if not data.startswith(_MAGIC) or len(data) < _START:
        raise BadFile("it is no prompt file")
    (length,) = _LENGTH.unpack_from(data, len(_MAGIC))
    if length > _MOST_HEADER:
        raise BadFile("its header has no end")
    try:
        return msgspec.msgpack.decode(data[_START : _START + length], type=Header), _START + length
    except msgspec.MsgspecError as error:
        raise BadFile(f"its header can't be read: {error}") from None


def _write_all(descriptor: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view):]


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        give_up = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise Busy("another process holds the prompt caches' lock") from None
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)
