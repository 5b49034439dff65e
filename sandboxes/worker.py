"""The program of a worker process: reads calls from its standard input, runs each under limits, writes the results.

The CPU budget is a kernel timer (``ITIMER_PROF``) with the default action, death: it needs no cooperation from the code
it interrupts, not even from C code, and does not depend on wall-clock time. The worker ends with its input, with its
parent, or after `IDLE_SECONDS` without work.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import struct
from importlib import import_module
from typing import IO

IDLE_SECONDS = 120.0
HEADER = struct.Struct(">I")


def main() -> None:
    """Serve until there is nobody left to serve."""
    calls = os.fdopen(os.dup(0), "rb", buffering=0)
    results = os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):  # what a function prints must not look like a result
        os.dup2(nothing, number)
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    while wait(calls, parent):
        call = receive(calls)
        if call is None:
            return
        send(results, run(*pickle.loads(call)))


def run(path: str, argument: object, cpu_seconds: float, memory_bytes: int) -> bytes:
    """Call the function at `path` (``module:name``) under the limits.

    The outcome is pickled: ``(True, result)`` or ``(False, error)``.
    Importing the module is not on the clock: it is done once, and is not the argument's fault.
    """
    try:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))  # the last call's limit is not for this one's imports
        module, _, name = path.partition(":")
        function = getattr(import_module(module), name)
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, hard))
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        try:
            outcome = (True, function(argument))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        return pickle.dumps(outcome)
    except MemoryError:
        return pickle.dumps((False, "MemoryError"))
    except Exception as error:
        return pickle.dumps((False, f"{type(error).__name__}: {str(error)[:500]}"))


def wait(calls: IO[bytes], parent: int) -> bool:
    """Wait for a call. False once the parent is gone or the worker has idled too long."""
    waited = 0.0
    while not select.select([calls], [], [], 5.0)[0]:
        waited += 5.0
        if os.getppid() != parent or waited >= IDLE_SECONDS:
            return False
    return True


def send(stream: IO[bytes], message: bytes) -> None:
    """Write one message, its length first."""
    view = memoryview(HEADER.pack(len(message)) + message)
    while view:
        view = view[stream.write(view) :]


def receive(stream: IO[bytes]) -> bytes | None:
    """Read one message; None at the end of the stream, also within a message."""
    header = _exactly(stream, HEADER.size)
    return None if header is None else _exactly(stream, HEADER.unpack(header)[0])


def _exactly(stream: IO[bytes], count: int) -> bytes | None:
    parts = []
    while count:
        part = stream.read(count)
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


if __name__ == "__main__":
    main()
