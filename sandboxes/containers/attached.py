"""A channel to a shell in a container: one stream, kept open, to a process that the engine runs there.

The engine wraps what the process prints into frames: one byte that names the stream, three of nothing, four of length.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLWantReadError, SSLWantWriteError
from typing import TYPE_CHECKING, Any

from stepgym.errors import SandboxError
from stepgym.sandboxes.containers.engine import failures
from stepgym.sandboxes.shell import ARGUMENTS

if TYPE_CHECKING:
    from docker import APIClient

CHUNK = 1 << 18
HEADER = struct.Struct(">xxxxL")
FIRST_LOOK, LONGEST_WAIT = 0.4, 5.0
"""Seconds of silence after which the engine is asked whether the shell lives, and the most between two questions."""
EXIT_SECONDS = 1.0
"""How long the engine may take to learn how a shell ended whose stream has."""
ABSORBED = 1 << 20
"""Bytes kept of what is read while the engine is busy with something else."""

_START = '{ echo 1000 >/proc/self/oom_score_adj; cd -- "$0"; } 2>/dev/null; exec "$@" 2>&1'
"""Where memory runs out the kernel ends commands, before the container's first process or anything of the host."""


def shell_command(workdir: str) -> list[str]:
    """What starts a shell, in `workdir` where that is there."""
    return ["bash", "-c", _START, workdir, *ARGUMENTS]


class AttachedChannel:
    """A fresh process in a running container. Raises `SandboxError`."""

    def __init__(self, engine: APIClient, container: str, command: list[str]) -> None:
        self._engine = engine
        with failures("nothing could be started in the container"):
            self._process: str = engine.exec_create(container, command, stdin=True, stderr=False, workdir="/")["Id"]
            self._stream: Any = engine.exec_start(self._process, socket=True)
        self._socket: Any = getattr(self._stream, "_sock", self._stream)
        self._header, self._left = b"", 0
        self._heard, self._look = time.monotonic(), FIRST_LOOK
        self._absorbed: deque[bytes] = deque()

    def send(self, data: bytes, deadline: float) -> None:
        """See `shell.Channel.send`."""
        view = memoryview(data)
        while view:
            wait = deadline - time.monotonic()
            if wait <= 0:
                raise TimeoutError
            self._socket.settimeout(wait)
            try:
                view = view[self._socket.send(view) :]
            except SSLWantWriteError:
                continue
            except ConnectionError as error:
                raise BrokenPipeError from error
        self._heard, self._look = time.monotonic(), FIRST_LOOK

    def receive(self, deadline: float) -> bytes:
        """See `shell.Channel.receive`."""
        if self._absorbed:
            return self._absorbed.popleft()
        return self._receive(deadline)

    @contextmanager
    def absorbing(self) -> Iterator[None]:
        """Read all the while, for `receive` to give later: the engine ends no process whose output nobody takes."""
        done, kept = threading.Event(), deque[bytes]()

        def absorb() -> None:
            room = ABSORBED
            try:
                while not done.is_set():
                    try:
                        data = self._receive(time.monotonic() + 0.05)
                    except TimeoutError:
                        continue
                    if not data:
                        return
                    kept.append(data[:room])
                    room -= len(kept[-1])
            except SandboxError:
                return  # whoever asks next is told

        thread = threading.Thread(target=absorb, name="stepgym-absorb", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self._absorbed = deque(each for each in kept if each)

    def _receive(self, deadline: float) -> bytes:
        while True:
            wait = deadline - time.monotonic()
            self._socket.settimeout(max(wait, 0.0))
            try:
                raw = self._socket.recv(CHUNK)
            except (TimeoutError, BlockingIOError, SSLWantReadError):
                if wait > 0 and self._ended():
                    return b""
                raise TimeoutError from None
            except ConnectionError:
                return b""
            if not raw:
                return b""
            self._heard, self._look = time.monotonic(), FIRST_LOOK
            if data := self._unframed(raw):
                return data

    def exit_code(self) -> int | None:
        """See `shell.Channel.exit_code`. Raises `SandboxError` where the container or the engine is gone."""
        deadline = time.monotonic() + EXIT_SECONDS
        while (state := self._state())["Running"] and time.monotonic() < deadline:
            time.sleep(0.02)
        code = state["ExitCode"]
        return code if isinstance(code, int) else None

    def close(self) -> None:
        """See `shell.Channel.close`."""
        if response := getattr(self._stream, "_response", None):
            response.close()
        self._socket.close()

    def _ended(self) -> bool:
        """Whether the shell is dead: its stream stays open for as long as processes in the background hold it."""
        silence = time.monotonic() - self._heard
        if silence < self._look:
            return False
        self._look = silence + min(silence, LONGEST_WAIT)
        return not self._state()["Running"]

    def _state(self) -> dict[str, Any]:
        with failures("the container is gone, or its engine"):
            state: dict[str, Any] = self._engine.exec_inspect(self._process)
            return state

    def _unframed(self, raw: bytes) -> bytes:
        parts, at = [], 0
        while at < len(raw):
            if self._left:
                parts.append(raw[at : at + self._left])
                at += len(parts[-1])
                self._left -= len(parts[-1])
            else:
                piece = raw[at : at + HEADER.size - len(self._header)]
                at += len(piece)
                self._header += piece
                if len(self._header) == HEADER.size:
                    (self._left,) = HEADER.unpack(self._header)
                    self._header = b""
        return b"".join(parts)
