"""A GGUF in shards, as large models are published: the same metadata and tensors, cut after so many tensors."""

from __future__ import annotations

from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter

_OWN = frozenset({"general.architecture", "split.no", "split.count", "split.tensors.count"})


def split(source: Path, folder: Path, *, tensors: int, stem: str = "model") -> list[Path]:
    """Writes `stem-00001-of-0000N.gguf` … into `folder`, each with at most `tensors` tensors. The shards in order."""
    reader = GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = GGUFWriter(folder / f"{stem}.gguf", architecture, split_max_tensors=tensors)
    for name, field in reader.fields.items():
        if name in _OWN or name.startswith("GGUF."):
            continue
        kind = field.types[0]
        writer.add_key_value(name, field.contents(), kind, field.types[-1] if kind is GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file(folder / f"{stem}.gguf")
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob(f"{stem}-*-of-*.gguf"))
