"""`python -m tests.faulty_child GROW_MIB FD`: the real engine child, which on SIGUSR1 takes GROW_MIB of memory."""

from __future__ import annotations

import signal
import sys
import threading

_held: list[bytearray] = []


def main() -> None:
    grow = int(sys.argv.pop(1)) << 20
    # a thread that waits for the signal: a handler would have to wait for the main thread to return from native code
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    threading.Thread(target=_grow_when_told, args=(grow,), daemon=True).start()

    from paddock_runtime.engine.llama.__main__ import main as real

    real()


def _grow_when_told(grow: int) -> None:
    while True:
        signal.sigwait({signal.SIGUSR1})
        _held.append(bytearray(b"x") * grow)


if __name__ == "__main__":
    main()
