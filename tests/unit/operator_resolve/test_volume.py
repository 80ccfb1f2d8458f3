"""Files on a pool's volume: places by name, everything else is the pods' to report."""

from __future__ import annotations

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_api.source import FileSource
from paddock_operator.resolve.volume import on_volume

SHA = "a" * 64


def test_a_file() -> None:
    found = on_volume(FileSource(volume="models", path="llama/m.gguf", sha256=SHA))
    assert found.resolution.files == ["/volumes/models/llama/m.gguf"]
    assert (found.resolution.sha256, found.resolution.size, found.resolution.commit) == (SHA, None, None)
    assert (found.facts.file, found.facts.sha256) == ("llama/m.gguf", SHA)
    assert found.facts.architecture is None
    assert found.header is None


def test_without_a_digest() -> None:
    assert on_volume(FileSource(volume="models", path="m.gguf")).resolution.sha256 is None


def test_shards() -> None:
    found = on_volume(FileSource(volume="v", path="m-00001-of-00003.gguf", sha256=SHA))
    assert found.resolution.files == [f"/volumes/v/m-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    assert (found.resolution.sha256, found.resolution.sha256s) == (SHA, [])


@pytest.mark.parametrize(("source", "param", "says"), [
    (FileSource(path="m.gguf"), "source.file.volume", "name one of the pool's spec.volumes"),
    (FileSource(volume="v", path="m-00002-of-00003.gguf"), "source.file.path", "name 'm-00001-of-00003.gguf'")])
def test_refused(source: FileSource, param: str, says: str) -> None:
    with pytest.raises(PaddockError) as caught:
        on_volume(source)
    assert (caught.value.code, caught.value.param) == (Code.SOURCE_REFUSED, param)
    assert says in caught.value.message
