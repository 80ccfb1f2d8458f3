"""`python -m tests.faulty_child GROW_MIB FD`: the real engine child, which on SIGUSR1 takes GROW_MIB of memory, and on
SIGUSR2 gets stuck in its next decode step: its other threads go on, its pulse too."""

from __future__ import annotations

import signal
import sys
import threading

_held: list[bytearray] = []
_stuck = threading.Event()


def main() -> None:
    grow = int(sys.argv.pop(1)) << 20
    # a thread that waits for the signals: a handler would have to wait for the main thread to return from native code
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
    threading.Thread(target=_obey, args=(grow,), daemon=True).start()

    import paddock_runtime.engine.llama.__main__ as entry

    entry._bindings_only()
    entry._bindings_only = lambda: None  # once is enough
    from paddock_runtime.engine.llama.context import Context, Decoded

    decode = Context.decode

    def maybe_stuck(self: Context, count: int) -> Decoded:
        while _stuck.is_set():
            threading.Event().wait(1000)
        return decode(self, count)

    Context.decode = maybe_stuck  # type: ignore[method-assign]
    entry.main()


def _obey(grow: int) -> None:
    while True:
        if signal.sigwait({signal.SIGUSR1, signal.SIGUSR2}) == signal.SIGUSR2:
            _stuck.set()
        else:
            _held.append(bytearray(b"x") * grow)


if __name__ == "__main__":
    main()
