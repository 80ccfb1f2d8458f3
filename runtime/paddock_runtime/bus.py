"""The one event bus of a pod: bounded history, bounded subscribers, nothing lost silently."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

from paddock_api.events import Event, EventType


class Gap(Exception):
    """A subscriber fell too far behind and missed events: it must take a new snapshot."""


class Subscription:
    def __init__(self, bus: Bus, limit: int) -> None:
        self._bus = bus
        self._queue: asyncio.Queue[Event] = asyncio.Queue(limit)
        self._lost = False

    def offer(self, event: Event) -> None:
        """Once one was lost, all are until the reader heard of it: it never sees a later one past a hole."""
        if self._lost:
            return
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self._lost = True

    async def next(self) -> Event:
        """The next event. Raises Gap once events were dropped and all kept ones are read."""
        if self._lost and self._queue.empty():
            self._lost = False
            raise Gap
        return await self._queue.get()

    def close(self) -> None:
        self._bus.unsubscribe(self)


class Bus:
    """Publishing never blocks: `listeners` are called in line (metrics, log, state store), subscribers have queues."""

    def __init__(self, *, clock: Callable[[], float] = time.time, history: int = 1024) -> None:
        self.epoch = uuid.uuid4().hex
        self.sequence = 0
        self.history: deque[Event] = deque(maxlen=history)
        self._clock = clock
        self._listeners: list[Callable[[Event], None]] = []
        self._subscriptions: list[Subscription] = []

    def listen(self, listener: Callable[[Event], None]) -> None:
        self._listeners.append(listener)

    def subscribe(self, limit: int = 1024) -> Subscription:
        subscription = Subscription(self, limit)
        self._subscriptions.append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def publish(self, type: EventType, *, model: str | None = None, revision: str | None = None, **data: Any) -> Event:
        self.sequence += 1
        event = Event(epoch=self.epoch, sequence=self.sequence, time=self._clock(), type=type, model=model,
                      revision=revision, data=data)
        self.history.append(event)
        for listener in self._listeners:
            listener(event)
        for subscription in self._subscriptions:
            subscription.offer(event)
        return event
