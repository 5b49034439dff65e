"""A bounded pool of sandboxes: clean ones handed out, some started ahead, and never too many.

``with pool.take(spec) as sandbox: ...`` waits its turn for room, and gives a started sandbox with the files it starts
with. What comes back is reset or closed in the background. Any back end, and different specs under one bound.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Self

from stepgym.errors import ConfigError, SandboxError
from stepgym.sandboxes import SANDBOXES
from stepgym.sandboxes.contract import Sandbox, Spec
from stepgym.sandboxes.pooling.lease import Lease
from stepgym.sandboxes.pooling.places import Place, Places, Ticket
from stepgym.sandboxes.pooling.starting import Starter

CHECK_SECONDS = 20.0
"""How long an idle sandbox may take for an empty command before it counts as broken."""
CLOSE_SECONDS = 60.0
EXIT_SECONDS = 5.0


class SandboxPool:
    """At most `live` sandboxes of a back end. Thread-safe; in a forked child it is empty, and works."""

    def __init__(
        self,
        backend: str | Callable[[Spec], Sandbox],
        spec: Spec | None = None,
        *,
        live: int,
        warm: int = 0,
        starting: int = 4,
        free_bytes: int = 1 << 30,
        patience: float = 300.0,
    ) -> None:
        """Where a `spec` is given, starts `warm` sandboxes in the background.

        Args:
            backend: A name in `SANDBOXES`, or what makes a sandbox of a spec.
            spec: What is taken where `take` is given none.
            live: Most sandboxes there are at any time, idle ones and forks included.
            warm: Most idle ones that are kept: the last used, whatever their specs.
            starting: Most that are started or reset at once.
            free_bytes: Free space that a start needs on the disk of `owners.state_folder`.
            patience: Seconds that a start waits for a busy back end or a full disk, and a fork for room.
        """
        if not (live >= 1 and 0 <= warm <= live and starting >= 1):
            raise ConfigError(
                f"a pool needs live >= 1, 0 <= warm <= live and starting >= 1, not {live=}, {warm=}, {starting=}"
            )
        make = SANDBOXES.load(backend) if isinstance(backend, str) else backend
        self.spec, self.live, self.warm = spec, live, warm
        self._patience = patience
        self._starter = Starter(make, at_once=starting, free_bytes=free_bytes, patience=patience)
        self._begin()
        _OPEN.add(self)
        self._fill()

    def _begin(self) -> None:
        self._places = Places(self.live, self.warm, partial(_in_background, self._discard))
        self._lock = threading.Lock()
        self._filling = 0
        self._failed: dict[Place, Exception] = {}
        """What could not be closed, and why."""

    @property
    def count(self) -> int:
        """How many sandboxes there are, idle, starting and closing ones included."""
        return self._places.count

    @property
    def idle(self) -> int:
        """How many are started and free."""
        return self._places.idle

    @contextmanager
    def take(self, spec: Spec | None = None, *, timeout: float | None = None) -> Iterator[Sandbox]:
        """A started, clean sandbox, usable until the end of the block. Those who wait are served in turn.

        It is handed on only after a reset that worked; never if the block raised `SandboxError` or made snapshots.
        Raises `SandboxError` where it cannot be started, or `live` others are in use for `timeout` seconds.
        """
        wanted = spec or self.spec
        if wanted is None:
            raise ConfigError("this pool has no spec of its own; say take(spec)")
        ticket = Ticket(wanted)
        try:
            place = self._started(ticket, timeout)
            lease = self._lease(place)
        except BaseException:
            self._leave(ticket.place)
            raise
        broken = False
        try:
            self._fill()
            yield lease
        except SandboxError:
            broken = True
            raise
        finally:
            lease.revoke()
            self._give_back(place, clean=not broken and not lease.has_snapshots)

    def close(self, *, timeout: float = CLOSE_SECONDS) -> None:
        """Close every sandbox, those in use as well; a command in progress is waited for, `timeout` seconds at most.

        Raises `SandboxError` where some could not be closed, after all others are.
        """
        self._starter.stop()
        with self._lock:
            again, self._failed = self._failed, {}
        for place in again:
            self._places.take_back(place)
        for place in self._places.close():
            if place.lease is not None:
                place.lease.revoke()  # or its next command might come before the closing
            _in_background(self._discard, place)
        left = self._places.wait_until_empty(timeout)
        with self._lock:
            failed = list(self._failed.values())
        if left or failed:
            why = f"{failed[0]}" if failed else f"they are in use for more than {timeout:g} s"
            raise SandboxError(f"{left + len(failed)} sandboxes of a pool could not be closed: {why}")
        _OPEN.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started(self, ticket: Ticket, timeout: float | None) -> Place:
        """A place with a sandbox that works."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            place = self._places.acquire(ticket, deadline)
            if place.sandbox is None:
                self._start(place)
                return place
            if _works(place.sandbox):
                return place
            ticket.place = None
            self._discard(place)

    def _start(self, place: Place) -> None:
        place.sandbox = self._starter.start(place.spec)
        self._starter.refuse_if_stopped()

    def _lease(self, place: Place) -> Lease:
        assert place.sandbox is not None
        place.lease = Lease(place.sandbox, partial(self._fork, place.sandbox), partial(self._discard, place))
        return place.lease

    def _fork(self, sandbox: Sandbox, point: str) -> Lease:
        ticket = Ticket(sandbox.spec, fresh=True)
        try:
            place = self._places.acquire(ticket, time.monotonic() + self._patience)
            place.sandbox = self._starter.patiently(partial(sandbox.fork, point))
            self._starter.refuse_if_stopped()
            return self._lease(place)
        except BaseException:
            self._leave(ticket.place)
            raise

    def _give_back(self, place: Place, *, clean: bool) -> None:
        _in_background(self._renew if clean and self._places.wants(place) else self._discard, place)

    def _renew(self, place: Place) -> None:
        assert place.sandbox is not None
        try:
            self._starter.patiently(place.sandbox.reset)
            self._shelve(place)
        except Exception:
            self._discard(place)

    def _fill(self) -> None:
        """Start what `warm` wants more of."""
        if self.spec is not None:
            with self._lock:
                places = self._places.ahead(self.spec, self.warm - self._filling)
                self._filling += len(places)
            for place in places:
                _in_background(self._start_ahead, place)

    def _start_ahead(self, place: Place) -> None:
        try:
            self._start(place)
            self._shelve(place)
        except Exception:
            self._discard(place)  # the next taker's own start says why
        finally:
            with self._lock:
                self._filling -= 1

    def _shelve(self, place: Place) -> None:
        """Make a clean sandbox idle. Raises `SandboxError` where it does not work."""
        assert place.sandbox is not None
        if not _works(place.sandbox):
            raise SandboxError("an idle sandbox does not work")
        self._leave(self._places.shelve(place))

    def _leave(self, place: Place | None) -> None:
        if place is not None:
            _in_background(self._discard, place)

    def _discard(self, place: Place) -> None:
        """Close a sandbox and free its place, whatever happens; nothing where that is done, or another is at it.

        In a forked child, that is every sandbox of the parent.
        """
        if not self._places.begin_closing(place):
            return
        try:
            if place.sandbox is not None:
                place.sandbox.close()
        except Exception as error:
            with self._lock:
                self._failed[place] = error
        finally:
            self._places.release(place)


def _works(sandbox: Sandbox) -> bool:
    try:
        return sandbox.exec(":", timeout=CHECK_SECONDS).ok
    except Exception:
        return False


def _in_background(work: Callable[[Place], None], place: Place) -> None:
    try:
        threading.Thread(target=work, args=(place,), name="sandbox-pool", daemon=True).start()
    except RuntimeError:  # no thread to be had: too many, or the interpreter is about to exit
        work(place)


_OPEN: set[SandboxPool] = set()
_INHERITED: list[Places] = []
"""The parent's, in a forked child: kept, so that nothing ends them."""


@atexit.register
def _close_all() -> None:
    for pool in list(_OPEN):
        with suppress(SandboxError):
            pool.close(timeout=EXIT_SECONDS)


def _forked() -> None:
    """In a child: the sandboxes are the parent's, and a thread that is not here may have held a lock."""
    for pool in _OPEN:
        _INHERITED.append(pool._places)
        pool._starter.begin()
        pool._begin()


os.register_at_fork(after_in_child=_forked)
