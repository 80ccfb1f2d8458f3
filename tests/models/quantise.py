"""Further real files out of one: `python -m tests.models.quantise SOURCE TARGET TYPE` (apart: llama.cpp may abort)."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import llama_cpp

ROOT = Path(__file__).parents[2]


def requantise(source: Path, target: Path, kind: str) -> None:
    """Write `source` in another quantization (`Q8_0`, `Q2_K`, …). Raises RuntimeError with llama.cpp's words."""
    command = [sys.executable, "-m", "tests.models.quantise", str(source), str(target), kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"quantising {source} to {kind} ended with {done.returncode}: {done.stderr[-2000:]}")


def main(source: str, target: str, kind: str) -> int:
    file_type = int(getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}"))
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = file_type
    params.allow_requantize = True
    params.nthread = 2
    return int(llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
