"""Ctrl-C that waits for a good moment."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Self


class Stopping:
    """While it is entered, the first Ctrl-C only sets `asked`; the second interrupts as usual.

    Signals belong to the main thread: entered elsewhere, it does nothing.
    """

    asked = False

    def __enter__(self) -> Self:
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - signal's signature
        self.asked = True
        signal.signal(signal.SIGINT, self._before)
        sys.stderr.write("\nfinishing this step; Ctrl-C again stops at once\n")
