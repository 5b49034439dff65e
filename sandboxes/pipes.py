"""A channel over two pipes to a shell of this machine."""

from __future__ import annotations

import os
import select
import socket
import time
from typing import Protocol

CHUNK = 1 << 16
ENDING_SECONDS = 0.5
"""Time in which a shell that has closed its output is expected to end."""


def private_input() -> tuple[int, int]:
    """Two connected descriptors, the first for a shell's standard input.

    Sockets, since a process of the same user can open another's pipe by ``/proc``, to read requests or write some.
    """
    theirs, ours = socket.socketpair()
    return theirs.detach(), ours.detach()


class Process(Protocol):
    """What can be known of the shell's process without waiting."""

    def fileno(self) -> int:
        """A descriptor that becomes readable when there may be news of it."""

    def exit_code(self) -> int | None:
        """Its exit code; None while it runs."""


class PipeChannel:
    """Both ends are ours, not inherited by other processes, and closed with the channel."""

    def __init__(self, stdin: int, stdout: int, process: Process) -> None:
        self._stdin, self._stdout, self._process = stdin, stdout, process
        os.set_blocking(stdin, False)
        os.set_blocking(stdout, False)
        self._writable = select.poll()
        self._writable.register(stdin, select.POLLOUT)
        self._readable = select.poll()
        self._readable.register(stdout, select.POLLIN)
        self._readable.register(process.fileno(), select.POLLIN)

    def send(self, data: bytes, deadline: float) -> None:
        """See `shell.Channel.send`."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._stdin, view) :]
            except BlockingIOError:
                if not self._writable.poll(_milliseconds(deadline)):
                    raise TimeoutError from None

    def receive(self, deadline: float) -> bytes:
        """See `shell.Channel.receive`."""
        while True:
            try:
                return os.read(self._stdout, CHUNK)
            except BlockingIOError:
                pass
            ready = self._readable.poll(_milliseconds(deadline))
            if not ready:
                raise TimeoutError
            if all(fd != self._stdout for fd, _ in ready) and self._process.exit_code() is not None:
                try:  # what it wrote before it ended
                    return os.read(self._stdout, CHUNK)
                except BlockingIOError:
                    return b""

    def exit_code(self) -> int | None:
        """See `shell.Channel.exit_code`. A process closes its descriptors a moment before its exit code is known."""
        deadline = time.monotonic() + ENDING_SECONDS
        news = select.poll()
        news.register(self._process.fileno(), select.POLLIN)
        while (code := self._process.exit_code()) is None and news.poll(_milliseconds(deadline)):
            pass
        return code

    def close(self) -> None:
        """See `shell.Channel.close`."""
        os.close(self._stdin)
        os.close(self._stdout)


def _milliseconds(deadline: float) -> int:
    return max(0, int((deadline - time.monotonic()) * 1000 + 0.999))
