"""`python -m tests.models NAME [ARGUMENT]`: build the model if need be, print its path."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests import models

_PLAIN: dict[str, Callable[[], Path]] = {
    "gemma": models.gemma, "gemma-chat": models.gemma_chat, "minilm": models.minilm,
}
_SEEDED: dict[str, Callable[[int], Path]] = {
    "full": models.full,
    "sliding": models.sliding,
    "recurrent": models.recurrent,
    "hybrid": models.hybrid,
    "tiny": models.tiny,
}


def main(name: str = "", argument: str = "") -> int:
    if name in _PLAIN:
        print(_PLAIN[name]())
    elif name in _SEEDED:
        print(_SEEDED[name](int(argument or 0)))
    elif name == "gemma-as" and argument:
        print(models.gemma_as(argument))
    else:
        known = [*_PLAIN, *(f"{seeded} [SEED]" for seeded in _SEEDED), "gemma-as QUANTIZATION"]
        print("usage: python -m tests.models NAME; names:", ", ".join(known), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
