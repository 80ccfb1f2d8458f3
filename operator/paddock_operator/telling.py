"""Events are told when they can be; what they tell of matters more."""

from __future__ import annotations

import logging

from paddock_operator.cluster.errors import ApiError, Unavailable
from paddock_operator.cluster.resources import EVENTS, Object
from paddock_operator.cluster.writer import Writer

_log = logging.getLogger(__name__)


async def tell(writer: Writer, document: Object) -> None:
    """Raises Unavailable and NotLeader: it is tried again then. What the API server refuses stays untold, such as in a
    namespace that goes away."""
    try:
        await writer.create(EVENTS, document)
    except Unavailable:
        raise
    except ApiError as error:
        _log.info("an event was refused: %s", error, extra={"key": document["involvedObject"]["name"]})
