"""How much the commands of a container have written."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepgym.errors import SandboxError
from stepgym.sandboxes.containers.engine import failures
from stepgym.sandboxes.written import Watch, bytes_below, bytes_held

if TYPE_CHECKING:
    from docker import APIClient

ASK_SECONDS = 5.0
"""Least time between two questions to the engine, which counts files for each."""
ASK_SHARE = 20.0
"""The same in durations of its last answer."""


class Disk:
    """Watches one container. Its files are counted here where they can be read, else by the engine, more rarely."""

    def __init__(self, engine: APIClient, container: str, limit: int) -> None:
        inspected = engine.inspect_container(container)
        self._engine, self._id, self._limit = engine, inspected["Id"], limit
        upper = _upper(inspected)
        self._watch = Watch(lambda: upper, limit + bytes_below(upper), self._held) if upper else None
        self._before = 0 if upper else self._asked()
        self._next = time.monotonic() + ASK_SECONDS

    def over_limit(self) -> str:
        """The clause for a limit gone beyond, or nothing. Raises `SandboxError` where the engine's disk is full."""
        if self._watch is not None:
            try:
                return self._watch.over_limit()
            except OSError as error:
                raise SandboxError("the container was removed from outside") from error
        now = time.monotonic()
        if now < self._next:
            return ""
        written = self._asked() - self._before
        self._next = time.monotonic() + max(ASK_SECONDS, ASK_SHARE * (time.monotonic() - now))
        return f"more than {self._limit >> 20} MiB written" if written > self._limit else ""

    def _held(self) -> int:
        with failures("the container is gone, or its engine"):
            return bytes_held(self._engine.inspect_container(self._id)["State"]["Pid"])

    def _asked(self) -> int:
        with failures("the container is gone, or its engine"):
            found = self._engine.containers(all=True, size=True, filters={"id": self._id})
            return sum(each.get("SizeRw", 0) for each in found)


def _upper(container: dict[str, Any]) -> Path | None:
    """Where on this machine an inspected container's own files are; None where they cannot be read."""
    found = ((container.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir")
    return Path(found) if found and os.access(found, os.R_OK | os.X_OK) else None
