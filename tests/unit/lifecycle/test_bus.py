"""The event bus: a reader that falls behind hears of it before it sees anything newer."""

from __future__ import annotations

import pytest

from paddock_api.events import EventType
from paddock_runtime.bus import Bus, Gap


async def test_no_event_comes_after_a_hole_before_the_reader_heard_of_it() -> None:
    bus = Bus()
    reader = bus.subscribe(3)
    for _ in range(4):
        bus.publish(EventType.MEMORY)  # the fourth is lost
    assert (await reader.next()).sequence == 1
    bus.publish(EventType.MEMORY)  # there is room for it, but it stands beyond the hole
    assert [(await reader.next()).sequence for _ in range(2)] == [2, 3]
    with pytest.raises(Gap):
        await reader.next()
    bus.publish(EventType.MEMORY)
    assert (await reader.next()).sequence == 6
