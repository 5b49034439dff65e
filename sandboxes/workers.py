"""A pool of killable worker processes, with a budget of CPU time and memory for every call.

A thread cannot be stopped, and a signal belongs to the caller's main thread; a process can be killed from anywhere.
Workers are started from a clean interpreter (not forked, ``__main__`` not imported), so the pool works from any thread,
asyncio executor, and in children of fork and spawn. A function is named by ``module:name``; its argument and result are
pickled.
"""

from __future__ import annotations

import atexit
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from stepgym.errors import SandboxError
from stepgym.sandboxes.worker import receive, send

MEMORY_BYTES = 400 << 20
"""Address space of a worker, interpreter and libraries included."""
WALL_SECONDS = 300.0
"""Backstop for work that waits instead of computing; far beyond any CPU budget, so load does not change results."""

_START = "import sys; sys.path[:] = {path!r}; from stepgym.sandboxes.worker import main; main()"


class OverBudgetError(Exception):
    """A call was stopped because it used up its CPU time, its memory or the wall-clock backstop."""


class _Worker:
    """One process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            close_fds=True,
            start_new_session=True,
        )

    def call(self, message: bytes, wall_seconds: float) -> bytes | None:
        """The reply; None if the process died or did not reply in time. Then it is of no further use."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            send(self.process.stdin, message)
        except OSError:
            return None
        reply = select.poll()  # select() knows no descriptor above 1023
        reply.register(self.process.stdout, select.POLLIN)
        return receive(self.process.stdout) if reply.poll(wall_seconds * 1000) else None

    def stop(self) -> int:
        """Kill the process if it lives, and reap it. Its exit code."""
        if self.process.poll() is None:
            self.process.kill()
        self.forget()
        return self.process.wait()

    def forget(self) -> None:
        """Close our ends of the pipes."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


class WorkerPool:
    """Runs functions in at most `size` processes, started when needed. Thread-safe."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._begin()

    def _begin(self) -> None:
        self._free = threading.Semaphore(self.size)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()

    def run(
        self,
        function: str,
        argument: Any,
        *,
        cpu_seconds: float,
        memory_bytes: int = MEMORY_BYTES,
        wall_seconds: float = WALL_SECONDS,
    ) -> Any:
        """The result of `function` (``module:name``) on `argument`.

        Raises `OverBudgetError` if it used up a budget, `stepgym.errors.SandboxError` if it raised or could not be run.
        """
        message = pickle.dumps((function, argument, cpu_seconds, memory_bytes))
        with self._free:
            reply = self._exchange(message, wall_seconds)
        succeeded, value = pickle.loads(reply)
        if succeeded:
            return value
        if value == "MemoryError":
            raise OverBudgetError(f"{function} used more than {memory_bytes >> 20} MiB")
        raise SandboxError(f"{function} failed in a worker process: {value}")

    def close(self) -> None:
        """End all workers. The pool starts others if it is used again."""
        with self._lock:
            workers, self._idle = [*self._idle, *self._busy], []
        for worker in workers:
            worker.stop()

    def _exchange(self, message: bytes, wall_seconds: float) -> bytes:
        started = time.monotonic()
        while True:
            worker, fresh = self._take()
            reply = None
            try:
                reply = worker.call(message, wall_seconds)
            finally:
                self._give_back(worker, alive=reply is not None)
            if reply is not None:
                return reply
            code = worker.process.returncode
            if code == -signal.SIGPROF:
                raise OverBudgetError("the CPU time was used up")
            if time.monotonic() - started >= wall_seconds:
                raise OverBudgetError(f"no result after {wall_seconds:g} s")
            if fresh:
                raise SandboxError(
                    f"a worker process ended with code {code}; its memory limit may be too small for its imports"
                )
            # an idle worker had ended by itself: try again with another

    def _take(self) -> tuple[_Worker, bool]:
        with self._lock:
            fresh = not self._idle
            worker = _Worker() if fresh else self._idle.pop()
            self._busy.add(worker)
        return worker, fresh

    def _give_back(self, worker: _Worker, *, alive: bool) -> None:
        with self._lock:
            self._busy.discard(worker)
            if alive:
                self._idle.append(worker)
        if not alive:
            worker.stop()

    def _abandon(self) -> None:
        """In a forked child: the workers are the parent's, and our copies of their pipes must not keep them alive."""
        workers = [*self._idle, *self._busy]
        self._begin()
        for worker in workers:
            worker.forget()
            worker.process.returncode = 0  # not ours to wait for


_POOL = WorkerPool(size=min(4, os.cpu_count() or 1))


def shared_pool() -> WorkerPool:
    """The pool of this process."""
    return _POOL


atexit.register(_POOL.close)
os.register_at_fork(after_in_child=_POOL._abandon)
