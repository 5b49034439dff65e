"""How much a namespace sandbox has written, watched at the price of a system call."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stepgym.errors import SandboxError

RESERVED = 64 << 20
"""Free bytes of the host's disk below which a sandbox counts as broken: what fails then is not
the command's fault."""
FILE_BYTES = 4096
"""What a file counts for at least, so that empty ones are not free."""
SLACK = 16 << 20
"""Bytes more than it found that a command may come to which begins beyond the limit."""
COUNTING_SHARE = 4.0
"""Pause after a count, in durations of that count."""


class Watch:
    """Counts the files only where the disk's free space says there may be more of them than before.

    A command that finds the limit gone beyond already may run, so that it can clean up, but not write more.
    """

    def __init__(self, written: Callable[[], Path], limit: int, held: Callable[[], int] = lambda: 0) -> None:
        """`written` is the folder they are in; `held` tells the bytes of open files that are in no folder any more."""
        self._written, self._limit, self._held = written, limit, held
        self._counted = 0
        self._allowed = limit
        self._free = self._room()
        self._next = 0.0

    def over_limit(self) -> str:
        """The clause for a limit gone beyond, or nothing. Raises `SandboxError` where the host's own disk is full."""
        free, now = self._room(), time.monotonic()
        if self._counted + self._free.more_than(free) > self._limit and now >= self._next:
            self._counted, self._free = bytes_below(self._written()) + self._held(), free
            self._next = time.monotonic() + COUNTING_SHARE * (time.monotonic() - now)
            if self._counted > self._allowed:
                self._allowed = self._counted + SLACK
                return f"more than {self._limit >> 20} MiB written"
            if self._counted <= self._limit:
                self._allowed = self._limit
        if free.bytes < RESERVED or free.files == 0:
            left = f"{free.bytes >> 20} MiB and {free.files} files free"
            raise SandboxError(f"the disk of {self._written().parent} is full ({left})")
        return ""

    def _room(self) -> _Room:
        found = os.statvfs(self._written())
        return _Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else sys.maxsize)


@dataclass(frozen=True, slots=True)
class _Room:
    """What a file system has free."""

    bytes: int
    files: int
    """Many more than anybody can make where the file system sets no number."""

    def more_than(self, later: _Room) -> int:
        """Bytes that have been taken until then, a file counting for `FILE_BYTES` at least."""
        return max(0, self.bytes - later.bytes, (self.files - later.files) * FILE_BYTES)


def bytes_below(folder: Path) -> int:
    """Bytes on disk of all that is in a folder; what vanishes meanwhile counts for nothing.

    Commands can nest folders deeper than any path reaches, or open files: ``find`` minds both.
    """
    command = ["find", os.fspath(folder), "-xdev", "-printf", "%b %n\n"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return sum(_bytes(*map(int, line.split())) for line in done.stdout.splitlines())


def _bytes(blocks: int, names: int) -> int:
    return max(FILE_BYTES, blocks * 512 // max(1, names))


def bytes_held(process: int) -> int:
    """Bytes on disk of files that are open and in no folder: of all processes in the PID namespace of that one's child.

    What is mapped into memory alone is not found.
    """
    seen: dict[tuple[int, int], int] = {}
    for path in _open_files(process):
        with suppress(OSError):
            found = os.stat(path)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
                seen[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(seen.values())


def _open_files(process: int) -> Iterator[str]:
    with suppress(OSError):
        inside = os.readlink(f"/proc/{process}/ns/pid_for_children")
        for name in os.listdir("/proc"):
            with suppress(OSError):
                if name.isdigit() and os.readlink(f"/proc/{name}/ns/pid") == inside:
                    yield from (f"/proc/{name}/fd/{number}" for number in os.listdir(f"/proc/{name}/fd"))
