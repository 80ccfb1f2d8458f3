"""The measurements against llama-server: `python -m bench` prints one JSON document (docs/bench.md)."""

import sys
from pathlib import Path

# The peer is built with what builds our own engine's libraries (scripts/llama_wheel.py), and runs the same file.
sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))
