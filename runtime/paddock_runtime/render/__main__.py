"""`python -m paddock_runtime.render FD …`: one worker. Started by `Renderer`, never by hand."""

from __future__ import annotations

import sys

from paddock_runtime.render.worker import main

if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
