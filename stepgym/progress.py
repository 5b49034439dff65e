"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self


class Progress:
    """Counts `total` units of work on stderr. Use as a context manager.

    On a terminal it is a tqdm bar; elsewhere a plain line every `every` seconds, and one at the end.
    """

    def __init__(self, title: str, total: int, *, done: int = 0, every: float = 10.0) -> None:
        self.title, self.total, self.done, self.every = title, total, done, every
        self.note = ""
        self._started = self._printed = time.monotonic()
        self._at_start = done
        self._bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, desc=title, dynamic_ncols=True, leave=True)

    def advance(self, note: str = "", count: int = 1) -> None:
        """`count` more units are done; `note` (a running accuracy, say) stands beside the count."""
        self.done += count
        self.note = note or self.note
        if self._bar is not None:
            self._bar.set_postfix_str(self.note, refresh=False)
            self._bar.update(count)
        elif time.monotonic() - self._printed >= self.every:
            self._print()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        else:
            self._print()

    def _print(self) -> None:
        self._printed = time.monotonic()
        seconds = self._printed - self._started
        rate = (self.done - self._at_start) / seconds if seconds > 0 else 0.0
        parts = [f"{self.title}: {self.done}/{self.total}", f"{seconds:.0f} s", f"{rate:.2f}/s", self.note]
        print(", ".join(part for part in parts if part), file=sys.stderr, flush=True)
