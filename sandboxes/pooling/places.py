"""Who may have a sandbox of a pool next: the room there is, what is idle in it, and the queue.

It counts, and starts and closes nothing itself. Thread-safe.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from stepgym.errors import SandboxError
from stepgym.sandboxes.contract import Sandbox, Spec
from stepgym.sandboxes.pooling.lease import Lease


@dataclass(eq=False, slots=True)
class Place:
    """Room for one sandbox, taken from before it is started until it is closed."""

    spec: Spec
    sandbox: Sandbox | None = None
    lease: Lease | None = None
    closing: bool = False


@dataclass(eq=False, slots=True)
class Ticket:
    """A taker's turn in the queue, and what came of it."""

    spec: Spec
    fresh: bool = False
    """An idle sandbox will not do."""
    place: Place | None = None
    evicted: Place | None = None
    """What is being closed to make room for it."""


class Places:
    """At most `live` places, with at most `warm` idle sandboxes in them."""

    def __init__(self, live: int, warm: int, evict: Callable[[Place], None]) -> None:
        """`evict` has a place closed and released, later, in another thread."""
        self._live, self._warm, self._evict = live, warm, evict
        self._changed = threading.Condition()
        self._taken: set[Place] = set()
        self._idle: deque[Place] = deque()
        """Started and clean; the last used is at the right."""
        self._queue: deque[Ticket] = deque()
        self._closed = False

    @property
    def count(self) -> int:
        """How many places are taken, those of idle sandboxes included."""
        with self._changed:
            return len(self._taken)

    @property
    def idle(self) -> int:
        """How many sandboxes are idle."""
        with self._changed:
            return len(self._idle)

    def acquire(self, ticket: Ticket, deadline: float | None) -> Place:
        """A place, when its turn has come: with an idle sandbox, or empty. It is the ticket's from then on."""
        with self._changed:
            self._queue.append(ticket)
            try:
                while not self._served(ticket):
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        raise SandboxError(f"no sandbox became free in time: all {self._live} of the pool are in use")
                    self._changed.wait(left)
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()
        assert ticket.place is not None
        return ticket.place

    def _served(self, ticket: Ticket) -> bool:
        self._refuse_if_closed()
        for place in reversed(self._idle):
            if place.spec == ticket.spec and not ticket.fresh:
                ticket.place = place
                self._idle.remove(place)
                return True
        if ticket is not self._queue[0]:
            return False
        if len(self._taken) < self._live:
            ticket.place = Place(ticket.spec)
            self._taken.add(ticket.place)
            return True
        if self._idle and ticket.evicted not in self._taken:
            ticket.evicted = self._idle.popleft()
            self._evict(ticket.evicted)
        return False

    def ahead(self, spec: Spec, count: int) -> list[Place]:
        """Empty places to start sandboxes in, for `count` idle ones in all, where there is room beside all who wait."""
        with self._changed:
            if self._closed or self._queue:
                return []
            count = min(count - len(self._idle), self._live - len(self._taken))
            places = [Place(spec) for _ in range(count)]
            self._taken.update(places)
            return places

    def wants(self, place: Place) -> bool:
        """A sandbox given back is to be kept, for one who waits for its like or for later, and need not make room."""
        with self._changed:
            awaited = any(ticket.spec == place.spec and not ticket.fresh for ticket in self._queue)
            ours = place in self._taken and not place.closing
            return ours and self._warm > 0 and not self._closed and (awaited or not self._queue)

    def shelve(self, place: Place) -> Place | None:
        """Make a clean sandbox idle. The one longest idle has to go where too many are: it is returned."""
        with self._changed:
            self._refuse_if_closed()
            self._idle.append(place)
            surplus = self._idle.popleft() if len(self._idle) > self._warm else None
            self._changed.notify_all()
            return surplus

    def begin_closing(self, place: Place) -> bool:
        """Whether the caller is to close its sandbox, and `release` it: the first to ask is."""
        with self._changed:
            if place.closing or place not in self._taken:
                return False
            place.closing = True
            return True

    def release(self, place: Place) -> None:
        """Its sandbox is closed."""
        with self._changed:
            place.closing = False
            self._taken.discard(place)
            self._changed.notify_all()

    def close(self) -> list[Place]:
        """Nobody gets a place any more. Those with a sandbox in them."""
        with self._changed:
            self._closed = True
            self._idle.clear()
            self._changed.notify_all()
            return [place for place in self._taken if place.sandbox is not None]

    def take_back(self, place: Place) -> None:
        """It was released, but its sandbox was not closed."""
        with self._changed:
            self._taken.add(place)

    def wait_until_empty(self, seconds: float) -> int:
        """How many places are still taken after that time at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken, seconds)
            return len(self._taken)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise SandboxError("the pool of sandboxes is closed")
