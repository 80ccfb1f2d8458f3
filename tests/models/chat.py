"""A copy of a GGUF that brings a chat template, as the files of instruction-tuned models do."""

from __future__ import annotations

from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter

_OWN = "general.architecture"


def with_template(source: Path, target: Path, template: str) -> None:
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields[_OWN].contents())
    for name, field in reader.fields.items():
        if name == _OWN or name.startswith("GGUF."):
            continue
        kind = field.types[0]
        writer.add_key_value(name, field.contents(), kind, field.types[-1] if kind is GGUFValueType.ARRAY else None)
    writer.add_chat_template(template)
    for tensor in reader.tensors:
        writer.add_tensor_info(
            tensor.name, tensor.data.shape, tensor.data.dtype, tensor.data.nbytes, tensor.tensor_type
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in reader.tensors:
        writer.write_tensor_data(tensor.data)
    writer.close()
