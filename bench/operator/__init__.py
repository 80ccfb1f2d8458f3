"""What many Models cost the operator: `python -m bench.operator` prints one JSON document (docs/bench.md)."""
