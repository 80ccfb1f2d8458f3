"""Documents packed for ConfigMaps: equal content gives equal bytes, and what is unpacked is bounded."""

from __future__ import annotations

import gzip
import zlib

# No small file stands for gigabytes.
MAX_UNPACKED = 128 << 20


def pack(content: bytes) -> bytes:
    """gzip without a time in it."""
    return gzip.compress(content, compresslevel=6, mtime=0)


def unpack(data: bytes) -> bytes:
    """Raises ValueError for what is no gzip, is cut off, or is larger than MAX_UNPACKED bytes when unpacked."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(data, MAX_UNPACKED)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not unpacker.eof:
        raise ValueError(f"is cut off, or larger than {MAX_UNPACKED} bytes when unpacked")
    return content
