"""`source.file`: what the pods will find on a volume of theirs. Pure; the pods report the rest."""

from __future__ import annotations

from paddock_api.errors import Code, PaddockError
from paddock_api.revision import Resolution
from paddock_api.source import FileSource
from paddock_operator.resolve.resolved import Resolved, facts_of
from paddock_operator.resolve.shards import all_shards

PATH, VOLUME = "source.file.path", "source.file.volume"


def on_volume(source: FileSource) -> Resolved:
    """Raises PaddockError SOURCE_REFUSED."""
    if source.volume is None:
        raise PaddockError(Code.SOURCE_REFUSED, "in a cluster a file lies on a volume of the pool: name one of the "
                           "pool's spec.volumes in source.file.volume", param=VOLUME)
    try:
        names = all_shards(source.path)
    except ValueError as error:
        raise PaddockError(Code.SOURCE_REFUSED, str(error), param=PATH) from None
    resolution = Resolution(sha256=source.sha256, files=[f"/volumes/{source.volume}/{name}" for name in names])
    return Resolved(resolution=resolution, facts=facts_of(resolution, source.path, None))
