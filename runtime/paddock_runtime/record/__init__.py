"""What a pod knows beyond its life: a SQLite file in the cache volume, written behind, read at the start.

Why it is made so: docs/design/2026-11-record.md.
"""

from paddock_runtime.record.record import NoRecord, Record, open_record
from paddock_runtime.record.shelf import Shelf

__all__ = ["NoRecord", "Record", "Shelf", "open_record"]
