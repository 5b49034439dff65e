"""Starts sandboxes: few at once, not on a full disk, and patiently where a back end is busy."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from stepgym.errors import SandboxError
from stepgym.sandboxes.contract import BusyError, Sandbox, Spec
from stepgym.sandboxes.owners import state_folder

T = TypeVar("T")

FIRST_DELAY, LONGEST_DELAY = 0.25, 15.0
"""Seconds before a busy back end is asked again, at first and at most; really between half of it and all of it."""


class Starter:
    """What a pool starts its sandboxes with."""

    def __init__(self, make: Callable[[Spec], Sandbox], *, at_once: int, free_bytes: int, patience: float) -> None:
        self._make, self._at_once = make, at_once
        self._free_bytes, self._patience = free_bytes, patience
        self.begin()

    def begin(self) -> None:
        """As new, for a forked child."""
        self._permits = threading.Semaphore(self._at_once)
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Whatever waits to start fails, and so does every later start."""
        self._stopped.set()

    def start(self, spec: Spec) -> Sandbox:
        """A sandbox that is started. Raises `SandboxError`."""

        def attempt() -> Sandbox:
            self._look_at_disk()
            sandbox = self._make(spec)
            try:
                return sandbox.start()
            except BaseException:
                with suppress(SandboxError):
                    sandbox.close()
                raise

        return self.patiently(attempt)

    def patiently(self, attempt: Callable[[], T]) -> T:
        """What `attempt` returns, asked again for as long as it raises `BusyError` and patience lasts."""
        deadline, delay = time.monotonic() + self._patience, FIRST_DELAY
        while True:
            with self._permits:
                self.refuse_if_stopped()
                try:
                    return attempt()
                except BusyError as error:
                    if time.monotonic() + delay > deadline:
                        raise SandboxError(f"{error} (tried for {self._patience:g} s)") from error
            self._stopped.wait(delay * random.uniform(0.5, 1.0))  # not all who wait at the same moment
            delay = min(2 * delay, LONGEST_DELAY)

    def refuse_if_stopped(self) -> None:
        """Raise `SandboxError` after `stop`."""
        if self._stopped.is_set():
            raise SandboxError("the pool of sandboxes is closed")

    def _look_at_disk(self) -> None:
        folder = state_folder()
        found = os.statvfs(folder)
        free = found.f_bavail * found.f_frsize
        if free < self._free_bytes:
            raise BusyError(
                f"{free >> 20} MiB are free on the disk of {folder}, and a start needs {self._free_bytes >> 20}"
            )
