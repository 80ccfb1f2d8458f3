"""Pages of files that are about to be mapped are asked for early, while something else still starts."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

_PIECE = 8 << 20


class ReadAhead:
    """At most `at_once` files' pages at a time, at most `most_bytes` for each call; beyond that nobody waits, for
    the map brings its pages anyway. Threads are daemons: a volume that hangs must not keep the pod from ending."""

    def __init__(self, *, at_once: int, most_bytes: int) -> None:
        self._places = threading.BoundedSemaphore(at_once)
        self._most = most_bytes

    def begin(self, paths: Sequence[Path]) -> Callable[[], None]:
        """Returns at once. The result gives it up."""
        given_up = threading.Event()
        if self._places.acquire(blocking=False):
            threading.Thread(target=self._run, args=(paths, given_up), name="read ahead", daemon=True).start()
        return given_up.set

    def _run(self, paths: Sequence[Path], given_up: threading.Event) -> None:
        try:
            read_ahead(paths, most_bytes=self._most, stop=given_up.is_set)
        except OSError:
            pass  # whoever opens it in earnest will say what is wrong
        finally:
            self._places.release()


def read_ahead(paths: Sequence[Path], *, most_bytes: int, stop: Callable[[], bool] = lambda: False) -> int:
    """Asks for the pages in order, in pieces, until `stop` or `most_bytes`. Returns how many bytes it asked for.

    The kernel reads only what is not there yet. Raises OSError."""
    asked = 0
    for path in paths:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            for start in range(0, size, _PIECE):
                if stop() or asked >= most_bytes:
                    return asked
                length = min(_PIECE, size - start, most_bytes - asked)
                os.posix_fadvise(file.fileno(), start, length, os.POSIX_FADV_WILLNEED)
                asked += length
    return asked
