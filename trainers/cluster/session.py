"""The end of a process and of all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

PATIENCE = 20.0
"""Seconds to end in good order."""


def end_session(process: subprocess.Popen[bytes]) -> None:
    """End the leader of a session, and then whatever of that session is left: daemons of Ray, engines of vLLM."""
    if process.stdin is not None:
        process.stdin.close()
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
    _kill(process.pid)
    process.wait()


def end_rest() -> None:
    """End whatever else is left of the session that this process leads, if it leads one."""
    if os.getsid(0) == os.getpid():
        _kill(os.getpid(), but=os.getpid())


def _kill(session: int, *, but: int = 0) -> None:
    deadline = time.monotonic() + PATIENCE
    while (left := [pid for pid in members(session) if pid != but]) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def members(session: int) -> list[int]:
    """Processes of that session that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, _, _, leader, *_ = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if int(leader) == session and state not in "ZX":
                    found.append(int(entry.name))
    return found
