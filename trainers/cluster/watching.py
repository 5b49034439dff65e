"""Notices that an actor has died, where the others would wait for it forever.

Weights go from the trainer to the engines by collective operations, and a process that waits in one does not hear that
another has gone.
"""

from __future__ import annotations

import os
import sys
import threading
from types import TracebackType
from typing import Self


class Watch:
    """Ends this process when an actor of its job has died and it does not end by itself. Use as a context manager."""

    def __init__(self, *, every: float = 5.0, grace: float = 30.0) -> None:
        """Looks `every` so many seconds; `grace` is what OpenRLHF has to find out, and to end with its own reason."""
        self._every, self._grace = every, grace
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def _look(self) -> None:
        while not self._over.wait(self._every):
            dead = _dead()
            if dead and not self._over.wait(self._grace):
                sys.stderr.write(f"ActorDiedError: {dead} has died, and the others wait for it\n")
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(1)


def _dead() -> str:
    """The class of an actor of this job that is no more; empty if there is none."""
    import ray
    from ray._private.state import actors

    job = ray.get_runtime_context().get_job_id()
    for actor in actors().values():
        if actor["State"] == "DEAD" and actor["JobID"] == job:
            return str(actor["ActorClassName"])
    return ""
