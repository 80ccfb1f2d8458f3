"""`python -m paddock_runtime.engine.llama FD`: an engine child on the socket that it inherited as FD."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import sys
import types


def _bindings_only() -> None:
    """Let `llama_cpp.llama_cpp` be imported without its package's high-level API, a fifth of a child's start."""
    found = importlib.util.find_spec("llama_cpp")
    if found is not None and found.submodule_search_locations is not None:
        package = types.ModuleType("llama_cpp")
        package.__path__ = list(found.submodule_search_locations)
        sys.modules["llama_cpp"] = package


def main() -> None:
    # Ctrl-C in a terminal reaches the whole process group; the supervisor decides when a child ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # If the kernel must kill, then this and not the supervisor.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("500")
    # Threads meet at a barrier a thousand times a token. Sleeping at each halves the speed of a quiet machine;
    # spinning until the others come costs a factor of ten or more when they have no core. This is about 0.2 ms.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    connection = socket.socket(fileno=int(sys.argv[1]))
    _bindings_only()

    from paddock_runtime.engine.llama.child import Child

    Child(connection).run()


if __name__ == "__main__":
    main()
