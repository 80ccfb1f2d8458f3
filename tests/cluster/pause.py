"""The image that holds a pod's namespaces: one static program, packed without any tool."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

from tests.cluster import binaries
from tests.cluster.node import PAUSE

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def archive() -> Path:
    """A Docker archive, made once. The program must have been compiled."""
    target = binaries.folder() / f"pause-{binaries.key('pause')[:16]}.tar"
    if not target.exists():
        unfinished = target.with_suffix(".new")
        unfinished.write_bytes(_pack(binaries.path("pause").read_bytes()))
        unfinished.rename(target)
    return target


def _pack(program: bytes) -> bytes:
    layer = _tar({"pause": program})
    config = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]
    described = {"config.json": config, "manifest.json": manifest}
    return _tar({"layer.tar": layer, **{name: json.dumps(value).encode() for name, value in described.items()}})


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
